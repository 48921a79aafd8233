// Without this script everything still works; it only saves a click.
for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}
const compare = document.querySelector("#compare");
if (compare) {
  const boxes = [...document.querySelectorAll("input[name=id]")];
  const update = () => { compare.disabled = boxes.filter((box) => box.checked).length !== 2; };
  boxes.forEach((box) => box.addEventListener("change", update));
  update();
}
// A form that shows what it would mean while one types: its own page, asked for without saving.
const live = document.querySelector("form[data-live]");
if (live) {
  const touched = new Set();
  let timer, asked = 0;
  const show = async () => {
    const mine = ++asked;
    const body = new URLSearchParams(new FormData(live));
    body.set("_do", "preview");
    const answer = await fetch(live.getAttribute("action"), { method: "POST", body });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const preview = fresh.querySelector("#preview");
    if (mine !== asked || !preview) return;
    document.querySelector("#preview").replaceWith(preview);
    for (const place of live.querySelectorAll("[data-fault]")) {
      const path = place.dataset.fault;
      if (live.elements[path] && !touched.has(path)) continue;
      place.textContent = fresh.getElementById(place.id)?.textContent ?? "";
      if (place.textContent) live.elements[path]?.setAttribute("aria-invalid", "true");
      else live.elements[path]?.removeAttribute("aria-invalid");
    }
  };
  live.addEventListener("input", (event) => {
    touched.add(event.target.name);
    clearTimeout(timer);
    timer = setTimeout(show, 300);
  });
}
