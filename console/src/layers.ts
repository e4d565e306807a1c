/**
 * The page's own layers, from the ground up: streets, track, ring around the picked vehicle, dots, arrows, names.
 *
 * They lie on the bundled outline or on the operator's style alike, so they touch nothing but their own sources.
 */

import type { ExpressionSpecification, LayerSpecification, Map as MapLibreMap } from "maplibre-gl";

import { ARROW, putArrow } from "./icons";
import type { Palette } from "./palette";

/** Sources that are set as a whole; `vehicles` gets changes only. */
export const SOURCES = ["streets", "track", "picked"] as const;
export type SourceName = (typeof SOURCES)[number];
export const VEHICLE_LAYERS = ["vehicle-arrows", "vehicle-far-arrows", "vehicle-dots"];

const byZoom = (...stops: number[]): ExpressionSpecification =>
  ["interpolate", ["exponential", 1.5], ["zoom"], ...stops] as ExpressionSpecification;
const motionIs = (motion: string): ExpressionSpecification => ["==", ["get", "motion"], motion];
const HAS_ARROW: ExpressionSpecification = ["all", motionIs("moving"), [">=", ["get", "heading"], 0]];
const FRESHNESS: ExpressionSpecification = ["get", "freshness"];

/** Filters of the vehicle layers; the legend narrows them to some motions. */
export const VEHICLE_FILTERS: Record<string, ExpressionSpecification> = {
  "vehicle-dots": ["!", HAS_ARROW],
  "vehicle-far-arrows": HAS_ARROW,
  "vehicle-arrows": HAS_ARROW,
  "vehicle-names": ["has", "device"],
};

export function vehicleLayers(fonts: string[]): LayerSpecification[] {
  const lineOf = (kind: string): ExpressionSpecification => ["==", ["get", "kind"], kind];
  const round = { "line-cap": "round", "line-join": "round" } as const;
  const layers: LayerSpecification[] = [
    {
      id: "streets-edge", type: "line", source: "streets", layout: round,
      paint: { "line-width": byZoom(9, 0.8, 12, 2.6, 14, 5.5, 17, 19) },
    },
    {
      id: "streets", type: "line", source: "streets", layout: round,
      paint: { "line-width": byZoom(9, 0.4, 12, 1.5, 14, 4, 17, 16) },
    },
    {
      id: "track-edge", type: "line", source: "track", filter: lineOf("driven"), layout: round,
      paint: { "line-width": byZoom(8, 4, 16, 8) },
    },
    {
      id: "track-line", type: "line", source: "track", filter: lineOf("driven"), layout: { "line-join": "round" },
      paint: { "line-width": byZoom(8, 2, 16, 4), "line-opacity": ["+", 0.25, ["*", 0.75, FRESHNESS]] },
    },
    {
      id: "track-gap", type: "line", source: "track", filter: lineOf("gap"),
      paint: { "line-width": 1.5, "line-dasharray": [2, 3], "line-opacity": 0.7 },
    },
    {
      id: "track-fixes", type: "circle", source: "track", filter: lineOf("fix"), minzoom: 13,
      paint: {
        "circle-radius": byZoom(13, 1.8, 15, 3.2, 17, 4.5), "circle-stroke-width": 1,
        "circle-opacity": ["+", 0.1, ["*", 0.9, FRESHNESS]], "circle-stroke-opacity": FRESHNESS,
      },
    },
    {
      id: "picked", type: "circle", source: "picked",
      paint: { "circle-radius": byZoom(5, 12, 14, 19), "circle-opacity": 0.18, "circle-stroke-width": 2 },
    },
    {
      id: "vehicle-dots", type: "circle", source: "vehicles",
      paint: { "circle-radius": byZoom(3, 2.2, 9, 4, 14, 6.5), "circle-stroke-width": byZoom(3, 0.5, 12, 1.6) },
    },
    {
      id: "vehicle-far-arrows", type: "circle", source: "vehicles",
      paint: { "circle-radius": byZoom(3, 2.2, 9, 4), "circle-stroke-width": byZoom(3, 0.5, 12, 1.6) },
    },
    {
      id: "vehicle-arrows", type: "symbol", source: "vehicles",
      layout: {
        "icon-image": ARROW, "icon-size": byZoom(3, 0.5, 9, 0.75, 14, 1), "icon-rotate": ["get", "heading"],
        "icon-rotation-alignment": "map", "icon-allow-overlap": true, "icon-ignore-placement": true,
      },
    },
    {
      id: "vehicle-names", type: "symbol", source: "vehicles", minzoom: 13.5,
      layout: {
        "text-field": ["get", "device"], "text-font": fonts, "text-size": 11.5,
        "text-anchor": "top", "text-offset": [0, 1.1], "text-padding": 4,
      },
      paint: { "text-halo-width": 1.5 },
    },
  ];
  for (const layer of layers) {
    const filter = VEHICLE_FILTERS[layer.id];
    if (filter !== undefined && "source" in layer) layer.filter = filter;
  }
  return layers;
}

/** Gives every layer that the map has the theme's colours; layers of an operator's style are not touched. */
export function paint(map: MapLibreMap, palette: Palette): void {
  const byMotion: ExpressionSpecification = [
    "match", ["get", "motion"],
    "moving", palette.moving, "standing", palette.standing, "stale", palette.stale, palette.silent,
  ];
  // A silent vehicle is a hollow ring: colour must not be the only thing that tells motions apart.
  const filled: ExpressionSpecification = ["case", motionIs("silent"), palette.vehicleEdge, byMotion];
  const edge: ExpressionSpecification = ["case", motionIs("silent"), palette.silent, palette.vehicleEdge];
  const colours: [layer: string, property: string, value: string | ExpressionSpecification][] = [
    ["water", "background-color", palette.water],
    ["land", "fill-color", palette.land],
    ["coast", "line-color", palette.border],
    ["borders", "line-color", palette.border],
    ["country-names", "text-color", palette.label],
    ["country-names", "text-halo-color", palette.labelEdge],
    ["streets-edge", "line-color", palette.streetEdge],
    ["streets", "line-color", palette.street],
    ["track-edge", "line-color", palette.trackEdge],
    ["track-line", "line-color", palette.track],
    ["track-gap", "line-color", palette.track],
    ["track-fixes", "circle-color", palette.track],
    ["track-fixes", "circle-stroke-color", palette.trackEdge],
    ["picked", "circle-color", palette.accent],
    ["picked", "circle-stroke-color", palette.accent],
    ["vehicle-dots", "circle-color", filled],
    ["vehicle-dots", "circle-stroke-color", edge],
    ["vehicle-far-arrows", "circle-color", palette.moving],
    ["vehicle-far-arrows", "circle-stroke-color", palette.vehicleEdge],
    ["vehicle-names", "text-color", palette.label],
    ["vehicle-names", "text-halo-color", palette.labelEdge],
  ];
  for (const [layer, property, value] of colours) {
    // The operator's style may have a layer of the same name as the outline's; only ours lie on our sources.
    if (isOurs(map, layer)) map.setPaintProperty(layer, property as "line-color", value);
  }
  putArrow(map, palette);
}

const OUR_SOURCES = new Set<string>([...SOURCES, "vehicles", "land", "borders", "countries"]);

function isOurs(map: MapLibreMap, id: string): boolean {
  const layer = map.getLayer(id);
  if (layer === undefined) return false;
  return layer.type === "background" ? map.getSource("countries") !== undefined : OUR_SOURCES.has(layer.source);
}
