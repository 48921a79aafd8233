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
