/** The vehicle's arrow, drawn on a canvas: no sprite has to be fetched, and it takes the theme's colours. */

import type { Map as MapLibreMap } from "maplibre-gl";

import type { Palette } from "./palette";

export const ARROW = "fleetwire-arrow";
const SIDE_PIXELS = 26;
// Drawn at twice the size, so that it stays sharp on a phone's screen.
const PIXEL_RATIO = 2;

/** Puts the arrow, pointing north, into the map's images, or repaints it. */
export function putArrow(map: MapLibreMap, palette: Palette): void {
  const image = drawArrow(palette.moving, palette.vehicleEdge);
  if (image === null) return;
  if (map.hasImage(ARROW)) map.updateImage(ARROW, image);
  else map.addImage(ARROW, image, { pixelRatio: PIXEL_RATIO });
}

function drawArrow(fill: string, edge: string): ImageData | null {
  const side = SIDE_PIXELS * PIXEL_RATIO;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  if (pen === null) return null;
  pen.scale(side / 26, side / 26);
  pen.beginPath();
  pen.moveTo(13, 3.5);
  pen.lineTo(20.5, 21.5);
  pen.lineTo(13, 17.6);
  pen.lineTo(5.5, 21.5);
  pen.closePath();
  pen.lineJoin = "round";
  pen.lineWidth = 3.6;
  pen.strokeStyle = edge;
  pen.stroke();
  pen.fillStyle = fill;
  pen.fill();
  return pen.getImageData(0, 0, side, side);
}
