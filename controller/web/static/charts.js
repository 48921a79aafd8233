// Draws what a page says in a chart's JSON. `ast` interprets expressions instead of compiling them,
// which the Content-Security-Policy forbids.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
// A plot may come from whoever logs metrics: it holds its own data, fetches nothing, and links to
// models only.
const loader = {
  load: (uri) => Promise.reject(new Error(`a plot holds its own data, and does not load ${uri}`)),
  sanitize: (uri) => /^(data:image\/|\/models\/\w+$)/.test(uri)
    ? Promise.resolve({ href: uri })
    : Promise.reject(new Error(`a plot links nothing, and not ${uri}`)),
};
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(place.firstElementChild.textContent);
  delete spec.usermeta; // its `embedOptions` would come before ours
  const options = { ast: true, actions: false, renderer: "svg", theme: dark ? "dark" : undefined };
  const ours = { ...options, loader, config: { background: "transparent" } };
  vegaEmbed(place, spec, ours).catch((fault) => {
    place.textContent = "This chart could not be drawn: " + fault.message;
  });
}
