// Shows a volume in three planes. The volume comes as axial slices, a PNG each, whose grey levels
// are codes: content.values says what each stands for, so that the window can change here.
"use strict";

function openViewer(root, content) {
  const [count, height, width] = content.shape;
  const [sliceMm, rowMm, columnMm] = content.mm;
  const codes = new Uint8Array(count * height * width);
  const inside = new Uint8Array(codes.length);
  const at = (n, row, column) => (n * height + row) * width + column;
  // Rows and columns of each plane, and the voxel below a pixel: [n, row, column].
  const planes = {
    axial: {
      axis: 0, rows: height, columns: width, mm: [rowMm, columnMm],
      voxel: (place, r, c) => [place, r, c],
    },
    coronal: {
      axis: 1, rows: count, columns: width, mm: [sliceMm, columnMm],
      voxel: (place, r, c) => [count - 1 - r, place, c],
    },
    sagittal: {
      axis: 2, rows: count, columns: height, mm: [sliceMm, rowMm],
      voxel: (place, r, c) => [count - 1 - r, c, place],
    },
  };
  const place = content.center.slice();
  const overlay = root.querySelector("[name=overlay]");
  const level = root.querySelector("[name=level]");
  const breadth = root.querySelector("[name=width]");

  function greyOfCodes() {
    const low = Number(level.value) - Number(breadth.value) / 2;
    return content.values.map((v) =>
      Math.max(0, Math.min(255, Math.round((255 * (v - low)) / Number(breadth.value)))));
  }

  function drawPlane(name, grey) {
    const plane = planes[name];
    const canvas = root.querySelector(`[data-plane=${name}] canvas`);
    const pixels = new ImageData(plane.columns, plane.rows);
    const mask = new Uint8Array(plane.rows * plane.columns);
    for (let r = 0; r < plane.rows; r++) {
      for (let c = 0; c < plane.columns; c++) {
        const index = at(...plane.voxel(place[plane.axis], r, c));
        const pixel = r * plane.columns + c;
        pixels.data.fill(grey[codes[index]], 4 * pixel, 4 * pixel + 3);
        pixels.data[4 * pixel + 3] = 255;
        mask[pixel] = inside[index];
      }
    }
    const still = document.createElement("canvas");
    [still.width, still.height] = [plane.columns, plane.rows];
    still.getContext("2d").putImageData(pixels, 0, 0);
    const context = canvas.getContext("2d");
    context.drawImage(still, 0, 0, canvas.width, canvas.height);
    if (overlay.checked) drawOutline(context, plane, mask);
    drawCross(context, plane, name);
    drawLabels(context, plane, name);
  }

  function drawOutline(context, plane, mask) {
    const [sx, sy] = [context.canvas.width / plane.columns, context.canvas.height / plane.rows];
    const isIn = (r, c) =>
      r >= 0 && c >= 0 && r < plane.rows && c < plane.columns && mask[r * plane.columns + c];
    context.beginPath();
    for (let r = 0; r < plane.rows; r++) {
      for (let c = 0; c < plane.columns; c++) {
        if (!isIn(r, c)) continue;
        const [x, y] = [c * sx, r * sy];
        if (!isIn(r - 1, c)) { context.moveTo(x, y); context.lineTo(x + sx, y); }
        if (!isIn(r + 1, c)) { context.moveTo(x, y + sy); context.lineTo(x + sx, y + sy); }
        if (!isIn(r, c - 1)) { context.moveTo(x, y); context.lineTo(x, y + sy); }
        if (!isIn(r, c + 1)) { context.moveTo(x + sx, y); context.lineTo(x + sx, y + sy); }
      }
    }
    context.strokeStyle = "rgb(255 176 0)";
    context.lineWidth = 2;
    context.stroke();
  }

  // Where the two other planes cut this one.
  function drawCross(context, plane, name) {
    const { width: w, height: h } = context.canvas;
    const [n, row, column] = place;
    const rowHere = name === "axial" ? row : count - 1 - n;
    const columnHere = name === "sagittal" ? row : column;
    const x = ((columnHere + 0.5) / plane.columns) * w;
    const y = ((rowHere + 0.5) / plane.rows) * h;
    context.strokeStyle = "rgb(40 190 255 / 0.6)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, h);
    context.moveTo(0, y); context.lineTo(w, y);
    context.stroke();
  }

  function drawLabels(context, plane, name) {
    const { width: w, height: h } = context.canvas;
    const [top, bottom, left, right] = content.letters[name];
    context.font = "bold 22px ui-monospace, 'DejaVu Sans Mono', monospace";
    context.fillStyle = "white";
    context.strokeStyle = "black";
    context.lineWidth = 4;
    const write = (text, x, y, align, baseline) => {
      [context.textAlign, context.textBaseline] = [align, baseline];
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    write(top, w / 2, 6, "center", "top");
    write(bottom, w / 2, h - 6, "center", "bottom");
    write(left, 6, h / 2, "left", "middle");
    write(right, w - 6, h / 2, "right", "middle");
    const barMm = 50;
    const barPx = (barMm / (plane.columns * plane.mm[1])) * w;
    context.fillRect(w - 12 - barPx, h - 14, barPx, 4);
    context.font = "16px system-ui, 'DejaVu Sans', sans-serif";
    write(`${barMm} mm`, w - 12, h - 18, "right", "bottom");
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
      const box = root.querySelector(`[data-plane=${name}]`);
      const slider = box.querySelector("input");
      slider.value = place[plane.axis];
      box.querySelector("output").value = `${place[plane.axis] + 1} of ${Number(slider.max) + 1}`;
      drawPlane(name, grey);
    }
  }

  let asked = false;
  function drawSoon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function goTo(axis, wanted) {
    place[axis] = Math.max(0, Math.min(content.shape[axis] - 1, wanted));
    drawSoon();
  }

  function listen() {
    for (const control of [overlay, level, breadth]) control.addEventListener("input", drawSoon);
    for (const button of root.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        [level.value, breadth.value] = [button.dataset.level, button.dataset.width];
        drawSoon();
      });
    }
    for (const [name, plane] of Object.entries(planes)) {
      const box = root.querySelector(`[data-plane=${name}]`);
      const slider = box.querySelector("input");
      slider.addEventListener("input", () => goTo(plane.axis, Number(slider.value)));
      const canvas = box.querySelector("canvas");
      const scale = 720 / Math.max(plane.columns * plane.mm[1], plane.rows * plane.mm[0]);
      canvas.width = Math.round(plane.columns * plane.mm[1] * scale);
      canvas.height = Math.round(plane.rows * plane.mm[0] * scale);
      canvas.addEventListener("click", (event) => {
        const r = Math.floor((event.offsetY / canvas.clientHeight) * plane.rows);
        const c = Math.floor((event.offsetX / canvas.clientWidth) * plane.columns);
        plane.voxel(place[plane.axis], r, c).forEach((wanted, axis) => goTo(axis, wanted));
      });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        goTo(plane.axis, place[plane.axis] + Math.sign(event.deltaY));
      }, { passive: false });
    }
  }

  async function read(urls, into, encode) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    for (const [n, url] of urls.entries()) {
      if (!url) continue;
      const picture = new Image();
      picture.src = `data:image/png;base64,${url}`;
      await picture.decode();
      context.drawImage(picture, 0, 0);
      const rgba = context.getImageData(0, 0, width, height).data;
      for (let i = 0; i < width * height; i++) into[n * width * height + i] = encode(rgba[4 * i]);
    }
  }

  listen();
  return Promise.all([
    read(content.images, codes, (grey) => grey),
    read(content.masks, inside, (grey) => (grey ? 1 : 0)),
  ]).then(() => { draw(); root.dataset.ready = "yes"; });
}
