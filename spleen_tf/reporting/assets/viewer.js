// Shows a volume in three planes: the controls. content.values says what each code of the slices
// stands for, so that the window can change here.
"use strict";

function openViewer(root, content) {
  const volume = openVolume(content);
  const planes = {};
  const place = content.center.slice();
  const overlay = root.querySelector("[name=overlay]");
  const level = root.querySelector("[name=level]");
  const breadth = root.querySelector("[name=width]");
  const boxOf = (name) => root.querySelector(`[data-plane=${name}]`);

  function greyOfCodes() {
    const low = Number(level.value) - Number(breadth.value) / 2;
    return content.values.map((v) =>
      Math.max(0, Math.min(255, Math.round((255 * (v - low)) / Number(breadth.value)))));
  }

  // The voxel as NIfTI viewers count it, from 0, and where it lies in the patient.
  function placeInWords() {
    const { axes, flips, factors, shape, affine } = content.stored;
    const ijk = [0, 0, 0];
    axes.forEach((axis, n) => {
      const middle = place[n] * factors[n] + Math.floor(factors[n] / 2);
      const index = Math.min(middle, shape[axis] - 1);
      ijk[axis] = flips[n] ? shape[axis] - 1 - index : index;
    });
    const ras = affine.map((row) =>
      row[0] * ijk[0] + row[1] * ijk[1] + row[2] * ijk[2] + row[3]);
    const towards = ras.map((mm, n) => `${(mm < 0 ? "LPI" : "RAS")[n]} ${Math.abs(mm).toFixed(1)}`);
    return `voxel i, j, k: ${ijk.join(", ")}; ${towards.join(", ")} mm`;
  }

  function draw() {
    const grey = greyOfCodes();
    root.querySelector("[data-shows=place]").value = placeInWords();
    root.querySelector("[data-shows=level]").value = level.value;
    root.querySelector("[data-shows=width]").value = breadth.value;
    for (const [name, plane] of Object.entries(planes)) {
      const slider = boxOf(name).querySelector("input");
      slider.value = place[plane.axis];
      boxOf(name).querySelector("output").value =
        `${place[plane.axis] + 1} of ${Number(slider.max) + 1}`;
      plane.draw(place, grey, overlay.checked);
    }
  }

  let asked = false;
  function drawSoon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function goTo(axis, slice) {
    place[axis] = Math.max(0, Math.min(content.shape[axis] - 1, slice));
    drawSoon();
  }

  function zoom(plane, factor, event) {
    plane.zoomBy(factor, place, event);
    drawSoon();
  }

  // A notch of a wheel is one slice; a touchpad's many small steps add up to one.
  function listenToWheel(canvas, plane) {
    let turned = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey || event.altKey) {
        zoom(plane, Math.exp(-event.deltaY / (event.deltaMode ? 10 : 300)), event);
        return;
      }
      turned += event.deltaMode || Math.abs(event.deltaY) >= 50
        ? 50 * Math.sign(event.deltaY) : event.deltaY;
      if (Math.abs(turned) < 50) return;
      goTo(plane.axis, place[plane.axis] + Math.sign(turned));
      turned = 0;
    }, { passive: false });
  }

  function listenToKeys(canvas, plane) {
    const slices = {
      ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10,
      Home: -Infinity, End: Infinity,
    };
    const pans = { ArrowUp: [0, 40], ArrowDown: [0, -40], ArrowLeft: [40, 0], ArrowRight: [-40, 0] };
    const zooms = { "+": 1.25, "=": 1.25, "-": 0.8, 0: 0 };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.shiftKey && event.key in pans) plane.panBy(...pans[event.key]);
      else if (event.key in zooms) plane.zoomBy(zooms[event.key], place);
      else if (event.key in slices) goTo(plane.axis, place[plane.axis] + slices[event.key]);
      else return;
      event.preventDefault();
      drawSoon();
    });
  }

  // A click moves the other planes there; a drag moves what is zoomed in.
  function listenToPointer(canvas, plane) {
    let last = null;
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => { [last, moved] = [event, 0]; });
    canvas.addEventListener("pointermove", (event) => {
      if (!last || !(event.buttons & 1)) return;
      const [x, y] = [event.clientX - last.clientX, event.clientY - last.clientY];
      moved += Math.abs(x) + Math.abs(y);
      if (moved > 4) {
        canvas.setPointerCapture(event.pointerId);
        plane.panBy(x, y);
        drawSoon();
      }
      last = event;
    });
    canvas.addEventListener("click", (event) => {
      last = null;
      if (moved > 4) { moved = 0; return; }
      plane.voxelAt(event, place).forEach((slice, axis) => goTo(axis, slice));
    });
  }

  function listen() {
    for (const control of [overlay, level, breadth]) control.addEventListener("input", drawSoon);
    for (const button of root.querySelectorAll("button[data-level]")) {
      button.addEventListener("click", () => {
        [level.value, breadth.value] = [button.dataset.level, button.dataset.width];
        drawSoon();
      });
    }
    for (const [name, plane] of Object.entries(planes)) {
      const box = boxOf(name);
      const canvas = box.querySelector("canvas");
      const slider = box.querySelector("input");
      slider.addEventListener("input", () => goTo(plane.axis, Number(slider.value)));
      for (const button of box.querySelectorAll("button[data-zoom]")) {
        button.addEventListener("click", () => zoom(plane, Number(button.dataset.zoom)));
      }
      box.querySelector("button[name=enlarge]").addEventListener("click", (event) => {
        event.currentTarget.setAttribute("aria-pressed", box.classList.toggle("large"));
      });
      listenToWheel(canvas, plane);
      listenToKeys(canvas, plane);
      listenToPointer(canvas, plane);
      new ResizeObserver(() => { plane.fit(); drawSoon(); }).observe(canvas);
    }
  }

  for (const name of ["axial", "coronal", "sagittal"]) {
    const canvas = boxOf(name).querySelector("canvas");
    planes[name] = openPlane(canvas, volume, name, content.mm, content.letters[name]);
    planes[name].fit();
  }
  listen();
  let drawnAt = 0;
  const onDecoded = (n) => {
    if (n !== place[0] && performance.now() - drawnAt < 200) return;
    drawnAt = performance.now();
    drawSoon();
  };
  return volume.decodeAll(() => place[0], onDecoded).then(() => {
    draw();
    root.dataset.ready = "yes";
  });
}
