// The door of the dataset room: its script and style sheet are fetched when it is first opened.

/** Resolves with {room, openRoom, proposeCaptions} of the room's script; null where it cannot be had. */
async function roomScript() {
  roomScript.coming ??= fetch("/live/room.js").then(async (answer) => {
    if (!answer.ok) throw new Error(answer.statusText);
    // biome-ignore lint/security/noGlobalEval: a part of this very script, which goes on with the names of this one
    return eval(await answer.text());
  });
  try {
    const parts = await roomScript.coming;
    window.atelier.room = parts.room;
    return parts;
  } catch {
    roomScript.coming = null; // the next press asks again
    toast(w("failed"), { bad: true });
    return null;
  }
}

/** Open the room on the form's folders. */
const enterByDoor = onePress(async () => (await roomScript())?.openRoom());
/** Captions from elsewhere, as changes to look at in the room. */
const takeToRoom = async (proposed) => (await roomScript())?.proposeCaptions(proposed);
