// The API key: in this tab's session storage, and nowhere else.

const NAME = "yolov7-service.key";

export function apiKey() {
  try { return sessionStorage.getItem(NAME) ?? ""; } catch { return ""; }
}

function keep(key) {
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch { /* a page that may keep nothing asks without a key */ }
}

/** The dialog; `onChange` is called when another key is in use. */
export class KeyDialog {
  constructor(onChange) {
    this._dialog = document.getElementById("key-dialog");
    this._field = document.getElementById("key");
    this._button = document.getElementById("key-open");
    this._onChange = onChange;
    this._button.addEventListener("click", () => this.open());
    document.getElementById("key-save").addEventListener("click", () => this._use(this._field.value.trim()));
    document.getElementById("key-forget").addEventListener("click", () => this._use(""));
    this._field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this._use(this._field.value.trim());
    });
    this._dialog.addEventListener("click", (event) => {
      if (event.target === this._dialog) this._dialog.close();
    });
    this._show();
  }

  open() {
    this._field.value = apiKey();
    this._dialog.showModal();
    this._field.focus();
  }

  _use(key) {
    keep(key);
    this._dialog.close();
    this._show();
    this._onChange();
  }

  _show() {
    this._button.classList.toggle("set", apiKey() !== "");
    this._button.title = apiKey() ? "A key is in use" : "No key is in use";
  }
}
