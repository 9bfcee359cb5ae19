// Where pictures come from: files that are picked, dropped or pasted, and the camera.

const byId = (id) => document.getElementById(id);

/** `on`: {picture(blob, name), video(blob, name)}. Everything that takes files, wired once. */
export function listenForFiles(on) {
  const take = (files) => {
    const file = [...files].find(({ type }) => /^(image|video)\//.test(type)) ?? files[0];
    if (!file) return;
    if (file.type.startsWith("video/")) on.video(file, baseName(file.name));
    else on.picture(file, baseName(file.name));
  };
  for (const kind of ["picture", "video"]) {
    const field = byId(`${kind}-file`);
    byId(`pick-${kind}`).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      take(field.files);
      // The same file may be picked again.
      field.value = "";
    });
  }
  byId("invite-picture").addEventListener("click", () => byId("picture-file").click());
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
  listenForDrops(take);
}

function listenForDrops(take) {
  const veil = byId("veil");
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    // It has left the window, not just one of the page's elements.
    if (event.relatedTarget === null) veil.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

/** The camera, on a phone the one at its back. */
export async function openCamera() {
  return navigator.mediaDevices.getUserMedia({
    audio: false, video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 }, height: { ideal: 720 } },
  });
}

function baseName(name) {
  return name.replace(/\.[^.]*$/, "") || "picture";
}
