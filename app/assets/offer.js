// The offer of the demo on a first start.

/** Show the offer, or take it away. */
function offer(fresh) {
  page.fresh = fresh;
  paintOffer();
}

function paintOffer() {
  const place = $("#la-offer");
  if (!place) return;
  if (!page.fresh || !page.presets.some((card) => card.name === "demo")) return place.replaceChildren();
  if (place.firstChild) return;
  // Sample pictures of the demo itself, after so many steps.
  const pictures = DEMO_PICTURES.map(([step, src]) =>
    el(
      "figure",
      {},
      el("img", { class: "pic", src, alt: "", width: "84", height: "84" }),
      el("span", {}, w("offer_step", { step })),
    ),
  );
  place.append(
    el(
      "div",
      { class: "offer" },
      el(
        "div",
        {},
        el("h2", {}, w("offer_title")),
        el("p", { class: "sub" }, w("offer_text")),
        el(
          "div",
          { class: "acts" },
          el("button", { type: "button", class: "btn p", onclick: useDemo }, icon("play"), w("offer_try")),
          el(
            "button",
            {
              type: "button",
              class: "btn q2",
              onclick: () => {
                offer(false);
                goTo("pretrained_model_name_or_path");
              },
            },
            w("offer_own"),
          ),
        ),
      ),
      el("div", { class: "strip" }, pictures),
    ),
  );
}
