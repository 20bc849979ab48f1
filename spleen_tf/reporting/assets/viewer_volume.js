// The voxels of a volume: axial slices, a PNG each, whose grey levels are codes. They are decoded
// one after the other, the nearest to what is looked at first.
"use strict";

function openVolume(content) {
  const [count, height, width] = content.shape;
  const size = height * width;
  const codes = new Uint8Array(count * size);
  const inside = new Uint8Array(count * size);
  const isDecoded = new Uint8Array(count);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });

  async function greys(base64) {
    const picture = new Image();
    picture.src = `data:image/png;base64,${base64}`;
    await picture.decode();
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, width, height).data;
  }

  async function decode(n) {
    const image = await greys(content.images[n]);
    for (let i = 0; i < size; i++) codes[n * size + i] = image[4 * i];
    if (content.masks[n]) {
      const mask = await greys(content.masks[n]);
      for (let i = 0; i < size; i++) inside[n * size + i] = mask[4 * i] ? 1 : 0;
    }
    isDecoded[n] = 1;
  }

  function nearestTo(place) {
    for (let away = 0; away < count; away++) {
      for (const n of [place + away, place - away]) {
        if (n >= 0 && n < count && !isDecoded[n]) return n;
      }
    }
    return -1;
  }

  // looksAt: the slice that is looked at now; onDecoded: is called with each slice.
  async function decodeAll(looksAt, onDecoded) {
    for (let n = nearestTo(looksAt()); n >= 0; n = nearestTo(looksAt())) {
      await decode(n);
      onDecoded(n);
    }
  }

  return { codes, inside, count, height, width, decodeAll };
}
