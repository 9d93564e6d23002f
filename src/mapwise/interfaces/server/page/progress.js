// Whatever takes longer than half a second says so.

const LATE = 500;
const running = new Set();

/** Show that work goes on, once it takes long; `share(0..1)` says how far it is. */
export function during(text, work) {
  const one = { text, share: null, late: false };
  running.add(one);
  const timer = setTimeout(() => {
    one.late = true;
    render();
  }, LATE);
  const end = () => {
    clearTimeout(timer);
    running.delete(one);
    render();
  };
  work.then(end, end);
  return {
    share(share) {
      one.share = share;
      render();
    },
  };
}

function render() {
  const place = document.getElementById("progress");
  const shown = [...running].filter((one) => one.late).at(-1);
  place.hidden = !shown;
  if (!shown) return;
  const bar = place.querySelector("span");
  bar.classList.toggle("endless", shown.share === null);
  bar.style.setProperty("--share", shown.share ?? 1);
  place.querySelector("p").textContent = shown.text;
}
