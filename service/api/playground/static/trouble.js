// What went wrong, as the service says it, and a way to try again.

export class Trouble {
  constructor(onKey) {
    this._section = document.getElementById("trouble");
    this._onKey = onKey;
    this._timer = null;
    this._shown = "";
  }

  clear() {
    clearInterval(this._timer);
    this._shown = "";
    this._section.hidden = true;
    this._section.replaceChildren();
  }

  /** `retry` is what the button does, where the same request may have another answer; null where it would not help. */
  show({ document: problem, retryAfter }, retry) {
    // A stream may say the same of each frame, and a button that is replaced twenty times a second cannot be pressed.
    const shown = `${problem.title} ${problem.detail}`;
    if (shown === this._shown) return;
    this.clear();
    this._shown = shown;
    const title = make("h2", problem.title);
    if (problem.status) title.append(" ", make("small", String(problem.status)));
    const alert = make("div");
    alert.setAttribute("role", "alert");
    alert.append(title, make("p", problem.detail));
    this._section.append(alert);
    if (problem.errors?.length) this._section.append(findings(problem.errors));
    const acts = make("p");
    acts.className = "acts";
    if (problem.status === 401) acts.append(button("Enter a key", this._onKey, "primary"));
    else if (retry && passes(problem.status)) acts.append(this._retry(retry, retryAfter));
    acts.append(button("Dismiss", () => this.clear(), "tool"));
    if (problem.request_id) {
      const request = make("span", "request ");
      request.className = "aside";
      request.append(make("code", problem.request_id));
      acts.append(request);
    }
    this._section.append(acts);
    this._section.hidden = false;
    this._section.scrollIntoView({ block: "nearest" });
  }

  /** Counts down to when the service said that it is worth trying. */
  _retry(retry, seconds) {
    const element = button("Try again", () => { this.clear(); retry(); }, "primary");
    if (!seconds) return element;
    const until = performance.now() + seconds * 1000;
    const tick = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      element.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      element.classList.toggle("early", left > 0);
      if (left <= 0) clearInterval(this._timer);
    };
    tick();
    this._timer = setInterval(tick, 250);
    return element;
  }
}

/** Whether it may be over the next time; a request that is wrong stays so. */
function passes(status) {
  return !status || status >= 500 || status === 408 || status === 429;
}

function findings(errors) {
  const list = make("ul");
  for (const { pointer, detail } of errors) {
    const item = make("li");
    item.append(make("code", pointer.replace(/^\//, "")), ` ${detail}`);
    list.append(item);
  }
  return list;
}

function make(tag, text = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function button(text, act, kind) {
  const element = make("button", text);
  element.type = "button";
  element.className = kind;
  element.addEventListener("click", act);
  return element;
}
