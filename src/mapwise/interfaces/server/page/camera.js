// Pictures from a camera, which is on only while it is looked at.

import { button, make } from "./dom.js";
import { complain } from "./messages.js";
import { t } from "./words.js";

const SIDE = 480;
const LOOK = 700;

/** The part that films. */
export function cameraPart(session) {
  const video = make("video", { class: "film", playsinline: true, muted: true, "aria-label": t("camera.label") });
  const begin = button(t("camera.begin"), () => start(), { class: "first" });
  let stream = null;
  let timer = 0;
  let gone = false;

  async function start() {
    begin.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: SIDE, height: SIDE, facingMode: "environment" } });
    } catch (error) {
      begin.disabled = false;
      complain(new Error(t("camera.none", { detail: error.name })));
      return;
    }
    if (gone) return stop();
    video.srcObject = stream;
    await video.play();
    begin.hidden = true;
    timer = setInterval(async () => {
      if (!document.hidden) session.present(await picture(true));
    }, LOOK);
  }

  function stop() {
    clearInterval(timer);
    stream?.getTracks().forEach((track) => track.stop());
  }

  async function picture(fleeting) {
    const side = Math.min(video.videoWidth, video.videoHeight) || SIDE;
    const canvas = make("canvas", { width: SIDE, height: SIDE });
    const [left, top] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
    canvas.getContext("2d").drawImage(video, left, top, side, side, 0, 0, SIDE, SIDE);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    return { kind: "pictures", blob, name: t("way.camera"), fleeting };
  }

  return {
    element: make("div", { class: "stack" }, make("div", { class: "stage" }, video), make("p", { class: "hint still" }, t("camera.hint")), begin),
    items: async () => (stream ? [await picture(false)] : []),
    focus: () => begin.focus(),
    leave() { gone = true; stop(); },
  };
}
