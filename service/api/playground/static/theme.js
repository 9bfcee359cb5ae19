// Light, dark or as the system has it. A script of its own, run before anything is painted.
(() => {
  const NAMES = { "": "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;

  // Pages may be forbidden to remember anything.
  const remembered = () => { try { return localStorage.getItem("theme") ?? ""; } catch { return ""; } };
  const remember = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* then not */ } };

  const apply = (theme) => {
    root.dataset.theme = theme in NAMES ? theme : "";
    const name = document.getElementById("theme-name");
    if (name) {
      name.textContent = `Theme: ${NAMES[root.dataset.theme]}`;
      name.parentElement.title = name.textContent;
    }
  };

  apply(remembered());
  document.addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      // The first press changes something in either case.
      const order = dark ? ["", "light", "dark"] : ["", "dark", "light"];
      const next = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
      remember(next);
      apply(next);
    });
  });
})();
