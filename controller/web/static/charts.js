// Draws what a page says in a chart's JSON. `ast` interprets expressions instead of compiling them,
// which the Content-Security-Policy forbids.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(place.firstElementChild.textContent);
  const options = { ast: true, actions: false, renderer: "svg", theme: dark ? "dark" : undefined };
  vegaEmbed(place, spec, { ...options, config: { background: "transparent" } }).catch((fault) => {
    place.textContent = "This chart could not be drawn: " + fault;
  });
}
