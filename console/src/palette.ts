/**
 * The colours of the map, read from the style sheet: `colours.css` is the one place that names a colour, for the page and the map alike.
 */

const NAMES = {
  water: "--map-water",
  land: "--map-land",
  border: "--map-border",
  label: "--map-label",
  labelEdge: "--map-label-edge",
  street: "--map-street",
  streetEdge: "--map-street-edge",
  track: "--track",
  trackEdge: "--track-edge",
  accent: "--accent",
  vehicleEdge: "--vehicle-edge",
  moving: "--moving",
  standing: "--standing",
  stale: "--stale",
  silent: "--silent",
} as const;

export type Palette = Record<keyof typeof NAMES, string>;

/** The colours of the theme that is shown. `light-dark()` is only resolved in a computed `color`, hence the probe. */
export function readPalette(): Palette {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const colours = Object.entries(NAMES).map(([name, property]) => {
    probe.style.color = `var(${property})`;
    return [name, getComputedStyle(probe).color];
  });
  probe.remove();
  return Object.fromEntries(colours) as Palette;
}
