// One plane of a volume on its canvas: the slice, the outline, the cross and the letters, all as far
// as the zoom shows them.
"use strict";

function openPlane(canvas, volume, name, mm, letters) {
  const { count, height, width } = volume;
  const [sliceMm, rowMm, columnMm] = mm;
  // Where a pixel lies in the voxels: start + r * down + c * right, and how a slice moves the start.
  const layouts = {
    axial: {
      axis: 0, rows: height, columns: width, mm: [rowMm, columnMm],
      start: (n) => n * height * width, down: width, right: 1,
      place: (n, r, c) => [n, r, c],
    },
    coronal: {
      axis: 1, rows: count, columns: width, mm: [sliceMm, columnMm],
      start: (n) => ((count - 1) * height + n) * width, down: -height * width, right: 1,
      place: (n, r, c) => [count - 1 - r, n, c],
    },
    sagittal: {
      axis: 2, rows: count, columns: height, mm: [sliceMm, rowMm],
      start: (n) => (count - 1) * height * width + n, down: -height * width, right: width,
      place: (n, r, c) => [count - 1 - r, c, n],
    },
  };
  const layout = layouts[name];
  const { axis, rows, columns } = layout;
  const [heightMm, widthMm] = [rows * layout.mm[0], columns * layout.mm[1]];
  const context = canvas.getContext("2d");
  const still = document.createElement("canvas");
  [still.width, still.height] = [columns, rows];
  const pixels = new ImageData(columns, rows);
  const mask = new Uint8Array(rows * columns);
  const view = { zoom: 1, x: 0.5, y: 0.5 };  // The canvas' middle, as shares of the slice.

  function fit() {
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.max(200, Math.round(canvas.clientWidth * density));
    canvas.height = Math.round((canvas.width * heightMm) / widthMm);
  }

  // Pixels of the slice to pixels of the canvas, and back.
  const left = () => (view.x - 0.5 / view.zoom) * columns;
  const top = () => (view.y - 0.5 / view.zoom) * rows;
  const scaleX = () => (canvas.width / columns) * view.zoom;
  const scaleY = () => (canvas.height / rows) * view.zoom;
  const toX = (c) => (c - left()) * scaleX();
  const toY = (r) => (r - top()) * scaleY();

  function pixelAt(event) {
    const r = top() + ((event.offsetY / canvas.clientHeight) * rows) / view.zoom;
    const c = left() + ((event.offsetX / canvas.clientWidth) * columns) / view.zoom;
    return [r, c];
  }

  function voxelAt(event, place) {
    const [r, c] = pixelAt(event);
    return layout.place(place[axis], Math.floor(r), Math.floor(c));
  }

  function moveBy(shareX, shareY) {
    const half = 0.5 / view.zoom;
    const within = (value) => Math.min(1 - half, Math.max(half, value));
    [view.x, view.y] = [within(view.x + shareX), within(view.y + shareY)];
  }

  // Where the two other planes cut this one: row and column.
  function crossAt(place) {
    const [n, row, column] = place;
    return [
      (name === "axial" ? row : count - 1 - n) + 0.5,
      (name === "sagittal" ? row : column) + 0.5,
    ];
  }

  // The point below the pointer stays where it is; without a pointer, the cross.
  function zoomBy(factor, place, event) {
    const [r, c] = event ? pixelAt(event) : crossAt(place);
    const before = view.zoom;
    view.zoom = Math.min(16, Math.max(1, view.zoom * factor));
    const share = 1 - before / view.zoom;
    moveBy(share * (c / columns - view.x), share * (r / rows - view.y));
    // A finger moves what is zoomed in, and else the page.
    canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
  }

  function panBy(cssX, cssY) {
    moveBy(-cssX / canvas.clientWidth / view.zoom, -cssY / canvas.clientHeight / view.zoom);
  }

  function draw(place, grey, withOutline) {
    const start = layout.start(place[axis]);
    for (let r = 0; r < rows; r++) {
      let index = start + r * layout.down;
      for (let pixel = r * columns; pixel < (r + 1) * columns; pixel++, index += layout.right) {
        const value = grey[volume.codes[index]];
        pixels.data[4 * pixel] = value;
        pixels.data[4 * pixel + 1] = value;
        pixels.data[4 * pixel + 2] = value;
        pixels.data[4 * pixel + 3] = 255;
        mask[pixel] = volume.inside[index];
      }
    }
    still.getContext("2d").putImageData(pixels, 0, 0);
    // Large pixels are voxels that a reader wants to see as such.
    context.imageSmoothingEnabled = Math.min(scaleX(), scaleY()) < 8;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(still, toX(0), toY(0), columns * scaleX(), rows * scaleY());
    if (withOutline) drawOutline();
    drawCross(place);
    drawLabels();
  }

  function drawOutline() {
    const [sx, sy] = [scaleX(), scaleY()];
    const isIn = (r, c) =>
      r >= 0 && c >= 0 && r < rows && c < columns && mask[r * columns + c];
    context.beginPath();
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        if (!mask[r * columns + c]) continue;
        const [x, y] = [toX(c), toY(r)];
        if (!isIn(r - 1, c)) { context.moveTo(x, y); context.lineTo(x + sx, y); }
        if (!isIn(r + 1, c)) { context.moveTo(x, y + sy); context.lineTo(x + sx, y + sy); }
        if (!isIn(r, c - 1)) { context.moveTo(x, y); context.lineTo(x, y + sy); }
        if (!isIn(r, c + 1)) { context.moveTo(x + sx, y); context.lineTo(x + sx, y + sy); }
      }
    }
    context.strokeStyle = "rgb(255 176 0)";
    context.lineWidth = 2 * unit();
    context.stroke();
  }

  function drawCross(place) {
    const [r, c] = crossAt(place);
    const [x, y] = [toX(c), toY(r)];
    context.strokeStyle = "rgb(40 190 255 / 0.6)";
    context.lineWidth = unit();
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, canvas.height);
    context.moveTo(0, y); context.lineTo(canvas.width, y);
    context.stroke();
  }

  // A pixel of the page, in pixels of the canvas.
  const unit = () => canvas.width / Math.max(1, canvas.clientWidth);

  function drawLabels() {
    const { width: w, height: h } = canvas;
    const u = unit();
    const [above, below, before, behind] = letters;
    context.font = `bold ${14 * u}px ui-monospace, 'DejaVu Sans Mono', monospace`;
    context.fillStyle = "white";
    context.strokeStyle = "black";
    context.lineWidth = 3 * u;
    const write = (text, x, y, align, baseline) => {
      [context.textAlign, context.textBaseline] = [align, baseline];
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    write(above, w / 2, 4 * u, "center", "top");
    write(below, w / 2, h - 4 * u, "center", "bottom");
    write(before, 4 * u, h / 2, "left", "middle");
    write(behind, w - 4 * u, h / 2, "right", "middle");
    const barMm = [50, 20, 10, 5, 2, 1].find((mm) => mm * view.zoom <= widthMm / 4) || 1;
    const barPx = (barMm / widthMm) * w * view.zoom;
    context.fillRect(w - 8 * u - barPx, h - 9 * u, barPx, 3 * u);
    context.font = `${11 * u}px system-ui, 'DejaVu Sans', sans-serif`;
    write(`${barMm} mm`, w - 8 * u, h - 12 * u, "right", "bottom");
    if (view.zoom > 1) write(`${view.zoom.toFixed(1)}×`, 8 * u, h - 8 * u, "left", "bottom");
    context.fillStyle = "black";
  }

  canvas.style.aspectRatio = `${widthMm} / ${heightMm}`;
  return { axis, view, fit, draw, voxelAt, zoomBy, panBy };
}
