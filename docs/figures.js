// Plotly's figures: the notebook kept each as JSON.
for (const place of document.querySelectorAll(".plotly")) {
  const figure = JSON.parse(place.querySelector("script").textContent);
  place.replaceChildren();
  figure.layout.autosize = true;
  delete figure.layout.width;
  Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
