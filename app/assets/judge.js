// What a run says of itself: three small curves under the samples, the file to take, and why.

const JUDGED = ["held_out", "learned", "drift"];

/** The card of a judged run; null where it is not judged. */
function judgeCard(judged, total) {
  if (!judged) return null;
  const curves = JUDGED.map((name) => judgeCurve(name, judged, total));
  const verdict = judged.what
    ? el(
        "div",
        { class: `verdict ${judged.kind}` },
        el("p", { class: "what" }, rich(judged.what)),
        judged.why ? el("p", {}, rich(judged.why)) : null,
        judged.fix ? el("p", {}, rich(judged.fix)) : null,
        judged.unsure ? el("p", { class: "unsure" }, rich(judged.unsure)) : null,
      )
    : el("p", {}, w("judge.soon"));
  const card = viewCard(
    w("judge.title"),
    "",
    verdict,
    judged.copies ? el("p", { class: "copies" }, icon("alert", true), " ", rich(judged.copies)) : null,
    el(
      "div",
      { class: "judged" },
      curves.map((curve) => curve.box),
    ),
    el("p", { class: "aside" }, w("judge.about")),
  );
  const draw = () => {
    for (const curve of curves) curve.draw();
  };
  return { card, draw };
}

function judgeCurve(name, judged, total) {
  const title = w(`judge.${name}`);
  const last = judged[name].at(-1);
  const share = w("judge.share", { share: `${Math.round(last * 100)} %` });
  const curve = chart(68, `${title}: ${share}`);
  const colour = name === "drift" ? ["--la-second", "#b0602a"] : ["--color-accent", "#0b6b62"];
  const line = { x: judged.step, y: judged[name], colour, width: 2 };
  return {
    box: el("div", {}, el("h4", {}, title, " ", el("span", { class: "num" }, share)), curve.box),
    draw: () =>
      curve.draw({ lines: [line], from: 0, to: total || judged.step.at(-1), marks: judged.best ? [judged.best] : [] }),
  };
}
