/** The form in which a user changes the password. Both passwords leave it only in the request. */

import { changePassword, Problem } from "./api";
import { byId, setText } from "./page";

export function startPasswordForm(): void {
  const dialog = byId("password-dialog", HTMLDialogElement);
  const form = byId("password-form", HTMLFormElement);
  const old = byId("password-old", HTMLInputElement);
  const fresh = byId("password-new", HTMLInputElement);
  const done = byId("password-done", HTMLElement);
  const close = byId("password-close", HTMLButtonElement);
  const submit = byId("password-submit", HTMLButtonElement);
  byId("password-open", HTMLButtonElement).addEventListener("click", () => dialog.showModal());
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    form.reset();
    showError("");
    setText(done, "");
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit.disabled = true;
    showError("");
    setText(done, "");
    changePassword(old.value, fresh.value)
      .then(() => {
        form.reset();
        setText(done, "Your password is changed. Your other sessions have ended.");
        close.focus();
      })
      .catch((error: unknown) => {
        showError(error instanceof Problem ? error.message : "The password could not be changed.");
        (error instanceof Problem && error.code === "password_wrong" ? old : fresh).select();
      })
      .finally(() => {
        submit.disabled = false;
      });
  });
}

/** For the end of a session: nothing that was typed stays in the page. */
export function closePasswordForm(): void {
  byId("password-dialog", HTMLDialogElement).close();
}

function showError(message: string): void {
  setText(byId("password-error", HTMLElement), message);
}
