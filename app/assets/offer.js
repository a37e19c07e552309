// The offer of the demo on a first start.

function paintOffer() {
  const place = $("#la-offer");
  if (!place) return;
  if (!page.fresh || !page.presets.some((card) => card.name === "demo")) return place.replaceChildren();
  if (place.firstChild) return;
  const steps = [["star", "d1", 0], ["m", "d2", 40], ["m", "d3", 80], ["m", "", 160]];
  const pictures = steps.map(([shape, filter, step]) => {
    const figure = el("figure");
    figure.innerHTML = `<svg viewBox="0 0 64 64" class="pic" aria-hidden="true"><use href="#${shape}"${filter ? ` filter="url(#${filter})"` : ""}/></svg>`;
    figure.append(el("span", {}, w("offer_step", { step })));
    return figure;
  });
  place.append(el("div", { class: "offer" }, el("div", {}, el("h2", {}, w("offer_title")), el("p", { class: "sub" }, w("offer_text")),
    el("div", { class: "acts" }, el("button", { type: "button", class: "btn p", onclick: useDemo }, icon("play"), w("offer_try")),
      el("button", { type: "button", class: "btn q2", onclick: () => { page.fresh = false; paintOffer(); goTo("pretrained_model_name_or_path"); } }, w("offer_own")))),
  el("div", { class: "strip" }, pictures)));
}
