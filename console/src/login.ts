/** The login form. The password leaves it only in the request; company and user are kept for the next time. */

import { logIn, Problem, type Session } from "./api";
import { byId, setText } from "./page";

const STORED = "fleetwire.login";

export function startLogin(onLogin: (session: Session) => void): void {
  const form = byId("login", HTMLFormElement);
  const tenant = byId("login-tenant", HTMLInputElement);
  const user = byId("login-user", HTMLInputElement);
  const password = byId("login-password", HTMLInputElement);
  const submit = byId("login-submit", HTMLButtonElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit.disabled = true;
    showLoginError("");
    logIn(tenant.value.trim(), user.value.trim(), password.value)
      .then((session) => {
        remember(tenant.value.trim(), user.value.trim());
        password.value = "";
        onLogin(session);
      })
      .catch((error: unknown) => {
        showLoginError(sentenceFor(error));
        password.select();
      })
      .finally(() => {
        submit.disabled = false;
      });
  });
}

/** Shows the form, filled in as far as is known, with the cursor in the first empty field. */
export function showLogin(message: string): void {
  document.body.dataset["view"] = "login";
  showLoginError(message);
  const [tenantName = "", userName = ""] = recall();
  const fields = [
    byId("login-tenant", HTMLInputElement),
    byId("login-user", HTMLInputElement),
    byId("login-password", HTMLInputElement),
  ] as const;
  fields[0].value ||= tenantName;
  fields[1].value ||= userName;
  fields.find((field) => field.value === "")?.focus();
}

function showLoginError(message: string): void {
  setText(byId("login-error", HTMLElement), message);
}

function sentenceFor(error: unknown): string {
  if (!(error instanceof Problem)) return "The login failed.";
  // Which of the three was wrong is nobody's business.
  if (error.status === 401) return "Company, user or password is wrong.";
  return error.message;
}

function remember(tenant: string, user: string): void {
  try {
    localStorage.setItem(STORED, JSON.stringify([tenant, user]));
  } catch {
    // A browser that keeps nothing asks for both again.
  }
}

function recall(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return Array.isArray(stored) ? stored.filter((part) => typeof part === "string") : [];
  } catch {
    return [];
  }
}
