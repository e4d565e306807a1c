/** Light or dark: what the system prefers, until the user chooses; the choice is kept in this browser. */

import { byId } from "./page";

const STORED = "fleetwire.theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

const SUN =
  '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="3.4"/><path d="M10 2.5v2M10 15.5v2M2.5 10h2M15.5 10h2' +
  'M4.7 4.7l1.4 1.4M13.9 13.9l1.4 1.4M4.7 15.3l1.4-1.4M13.9 6.1l1.4-1.4"/></svg>';
const MOON =
  '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8Z"/></svg>';

/** Sets the page's theme and its button; `onChange` runs after every change of the colours, also one of the system. */
export function startTheme(onChange: () => void): void {
  const button = byId("theme", HTMLButtonElement);
  const show = (): void => {
    const stored = readStored();
    if (stored === null) delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = stored;
    const dark = isDark();
    button.innerHTML = dark ? SUN : MOON;
    button.title = dark ? "Light colours" : "Dark colours";
    button.setAttribute("aria-label", button.title);
    onChange();
  };
  button.addEventListener("click", () => {
    store(isDark() ? "light" : "dark");
    show();
  });
  prefersDark.addEventListener("change", show);
  show();
}

function isDark(): boolean {
  return (readStored() ?? (prefersDark.matches ? "dark" : "light")) === "dark";
}

// A browser that keeps nothing (private mode, blocked storage) throws; the theme then lasts as long as the page.
let unstored: string | null = null;

function readStored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return unstored;
  }
}

function store(theme: string): void {
  // Choosing what the system prefers anyway is a return to following it.
  const followsSystem = (theme === "dark") === prefersDark.matches;
  unstored = followsSystem ? null : theme;
  try {
    if (unstored === null) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, unstored);
  } catch {
    // `unstored` holds it.
  }
}
