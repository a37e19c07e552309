// What a run says of itself: three small curves under the samples, the file to take, and why.

const JUDGED = ["held_out", "learned", "drift"];

/** The card of a judged run, with the file to take among its `files`; null where it is not judged. */
function judgeCard(judged, total, files) {
  if (!judged) return null;
  const best = judged.file && files.find((file) => file.name === judged.file); // a state has no name either
  const curves = JUDGED.map((name) => judgeCurve(name, judged, total));
  const verdict = judged.what
    ? el(
        "div",
        { class: `verdict ${judged.kind}` },
        el("p", { class: "what" }, rich(judged.what)),
        judged.why ? el("p", {}, rich(judged.why)) : null,
        judged.fix ? el("p", {}, rich(judged.fix)) : null,
        judged.unsure ? el("p", { class: "unsure" }, icon("alert", true), " ", rich(judged.unsure)) : null,
        best
          ? el(
              "a",
              {
                class: "btn s",
                href: best.url,
                download: best.name,
                title: best.name,
              },
              icon("down", true),
              w("judge.take"),
            )
          : null,
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

/** The mark of the file to take, in a list of files; null at the others. */
const takeMark = (judged, file) =>
  judged?.file && judged.file === file.name ? el("b", { class: "take" }, w("remedy.recommended")) : null;

const percent = (share) => `${Math.round(share * 100)} %`.replace("-", "−");

/** "understood 46 % better", or worse; "changed by 2 %". */
function judgedShare(name, share) {
  if (name === "drift") return w("judge.changed", { share: percent(share) });
  return w(share < 0 ? "judge.understood_less" : "judge.understood", { share: percent(Math.abs(share)) });
}

function judgeCurve(name, judged, total) {
  const title = w(`judge.${name}`);
  const share = judgedShare(name, judged[name].at(-1));
  const curve = chart(68, title + colon() + share);
  const colour = name === "drift" ? ["--la-second", "#b0602a"] : ["--color-accent", "#0b6b62"];
  const values = JUDGED.flatMap((one) => judged[one]);
  const range = [Math.min(0, ...values), Math.max(0.1, ...values)]; // one for all three: they can be compared
  return {
    box: el("div", {}, el("h4", {}, title, el("span", { class: "num" }, share)), curve.box),
    draw: () =>
      curve.draw({
        lines: [{ x: judged.step, y: judged[name], colour, width: 2 }],
        from: 0,
        to: total || judged.step.at(-1),
        marks: judged.best ? [judged.best] : [],
        range,
        write: percent,
      }),
  };
}
