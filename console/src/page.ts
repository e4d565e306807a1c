/** The elements of `index.html` by their ids. A missing one is a mistake of the build and fails at load, not at the first click. */

export function byId<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}.`);
  return found;
}

/** Sets text only where it differs: the clock ticks every second, and an unchanged node costs no layout. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setData(name: string, value: string): void {
  document.documentElement.dataset[name] = value;
}

/** A sentence over the map; empty text hides it. */
export function showNotice(text: string): void {
  const notice = byId("notice", HTMLElement);
  setText(notice, text);
  notice.hidden = text === "";
}

/** Opens or closes the list's sheet on a phone; a wide page shows the list always. */
export function setSheetOpen(open: boolean): void {
  byId("fleet", HTMLElement).classList.toggle("open", open);
  byId("fleet-toggle", HTMLButtonElement).ariaExpanded = String(open);
}
