// A click on a figure shows it as large as it was drawn; the next click, Enter or Escape closes it.
addEventListener("DOMContentLoaded", () => {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.innerHTML = '<form method="dialog"><button class="figure-button" title="Close"></button></form>';
  document.body.append(dialog);
  const still = ".bd-article img:not(a img, .sd-card img, .slide-player img, .latent-picker img)";
  for (const image of document.querySelectorAll(still)) {
    const button = document.createElement("button");
    button.className = "figure-button";
    button.title = "Enlarge";
    button.onclick = () => {
      const large = new Image();
      large.src = image.src;
      large.alt = image.alt;
      dialog.querySelector("button").replaceChildren(large);
      dialog.showModal();
    };
    image.replaceWith(button);
    button.append(image);
  }
});
