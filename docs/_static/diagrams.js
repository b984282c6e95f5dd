// Draw the page's diagrams in the reader's colours.
mermaid.initialize({
  startOnLoad: true,
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "neutral",
});
