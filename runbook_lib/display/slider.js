// A weight's slider: the browser's own, which screen readers call by its label.
export default {
  render({ model, el }) {
    const slider = document.createElement("input");
    slider.type = "range";
    slider.setAttribute("aria-label", model.get("label"));
    slider.title = `${model.get("label")}; arrow keys move it`;
    // else JupyterLab takes the arrow keys to go to another cell
    slider.dataset.lmSuppressShortcuts = "true";
    slider.style.cssText = "width:100%;accent-color:var(--jp-brand-color1, auto)";
    const show = () => {
      slider.value = model.get("value");
      slider.setAttribute("aria-valuetext", `${model.get("value")} percent`);
    };
    slider.addEventListener("change", () => {
      model.set("value", slider.valueAsNumber);
      model.save_changes();
    });
    model.on("change:value", show);
    show();
    el.append(slider);
    return () => model.off("change:value", show);
  },
};
