"""What nglview's view is taught in the browser: to draw a scene, to be pointed at, to hear the keyboard."""

# Runs in the browser with `this` = nglview's view. Buffers are made once and then rewritten in place; a buffer
# that has become too small is made anew. Unused sticks and arrows have no width.
JAVASCRIPT = """
if (!this.workbench) this.workbench = (function (view) {
  const stage = view.stage, parts = {};
  let labels = [], copies = [];
  // So far away that the sphere around everything fits, however it is turned.
  const fit = function (milliseconds) {
    const room = stage.viewer.container;
    if (!parts.atoms || Math.min(room.clientWidth, room.clientHeight) < 20) return;  // too early
    // NGL's own box of everything is 10 Å wide where one ball, or one halo, stands alone.
    const box = parts.atoms.component.getBoxUntransformed().clone(), middle = stage.getCenter();
    for (const name in parts) if (name !== "halos") box.union(parts[name].component.getBoxUntransformed());
    middle.copy(box.min).add(box.max).multiplyScalar(0.5);
    const half = stage.getParameters().cameraFov * Math.PI / 360;
    const narrow = Math.max(1, room.clientHeight / Math.max(room.clientWidth, 1));
    const distance = narrow * Math.max(0.5 + box.min.distanceTo(box.max) / 2, 1.5) / Math.sin(half);
    stage.animationControls.zoomMove(middle, Math.sign(stage.getZoom()) * distance, milliseconds);
  };
  // nglview's own bookkeeping of components would send every change back to the kernel.
  stage.signals.componentAdded.removeAll();
  stage.signals.componentRemoved.removeAll();
  if (view.$pickingInfo) view.$pickingInfo.remove();
  stage.mouseControls.remove("clickPick-left");
  stage.mouseControls.remove("hoverPick");
  // Which ball the pointer is on: atoms come first, their periodic images after.
  const ballOf = function (picked) {
    if (!picked || picked.type !== "sphere") return -1;
    const isImage = picked.component.name === "images";
    return picked.component.name === "atoms" || isImage ? picked.pid + (isImage ? labels.length : 0) : -1;
  };
  const tip = stage.tooltip, hide = function () { tip.style.display = "none"; };
  let pointing = false;  // over the picture, and moved since the last click
  const canvas = stage.viewer.renderer.domElement;
  canvas.addEventListener("pointermove", function (event) { pointing = event.buttons === 0; });
  for (const end of ["pointerdown", "pointerleave", "wheel"])
    canvas.addEventListener(end, function () { pointing = false; hide(); });
  stage.mouseControls.add("hoverPick", function (stage, picked) {
    const ball = ballOf(picked), atom = ball < labels.length ? ball : copies[ball - labels.length];
    if (!pointing || ball < 0 || !labels[atom]) { hide(); return; }
    tip.innerText = labels[atom] + (atom === ball ? "" : " (periodic image)");
    tip.style.display = "block";
    tip.style.left = picked.mouse.position.x + 8 + "px";
    tip.style.bottom = window.innerHeight - picked.mouse.position.y + 8 + "px";
  });
  stage.signals.clicked.add(function (picked) {
    const ball = ballOf(picked), held = stage.mouseObserver, more = held.shiftKey || held.ctrlKey || held.metaKey;
    if (ball >= 0) view.send({type: "workbench_pick", index: ball, more: more});
  });
  const ground = function () {
    const style = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
    stage.setParameters({backgroundColor: style || "white"});
  };
  // A small molecule may come close; the default keeps it 10 Å away.
  stage.setParameters({clipDist: 1, clipNear: 0, fogNear: 55, fogFar: 105, cameraFov: 28, ambientIntensity: 0.4});
  ground();
  // NGL looks from behind; seen from the front, x points to the right, y up and z out of the screen.
  stage.viewerControls.spin([0, 1, 0], Math.PI);
  stage.viewer.container.style.height = view.model.get("_view_height");
  stage.viewer.renderer.domElement.style.display = "block";
  const theme = new MutationObserver(ground);
  theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-name"]});
  // A view has no size until it is laid out or its tab is shown: look again then, unless a person has looked already.
  let untouched = true;
  const touch = function () {
    if (untouched) view.send({type: "workbench_touched"});
    untouched = false;
  };
  for (const event of ["pointerdown", "wheel"]) view.el.addEventListener(event, touch);
  // By keyboard, too; the page's own shortcuts are silent meanwhile.
  const turn = (axis, angle) => () => { touch(); stage.viewerControls.spin(axis, angle); };
  const zoom = by => () => { touch(); stage.viewerControls.zoom(by); };
  const step = by => () => view.send({type: "workbench_step", by: by});
  const keys = {
    ArrowLeft: turn([0, 1, 0], -0.1), ArrowRight: turn([0, 1, 0], 0.1), ArrowUp: turn([1, 0, 0], -0.1),
    ArrowDown: turn([1, 0, 0], 0.1), "+": zoom(0.1), "=": zoom(0.1), "-": zoom(-0.1), Home: () => fit(300),
    n: step(1), p: step(-1), Escape: step(0),
  };
  const pane = canvas.parentElement;  // with the focus on the canvas itself, Chromium may show old pictures
  pane.tabIndex = 0;
  pane.style.outlineOffset = "-3px";
  pane.dataset.lmSuppressShortcuts = "true";
  pane.setAttribute("role", "application");
  pane.setAttribute("aria-label", "Structure in 3D, described below. Arrow keys turn it, plus and minus zoom, Home "
    + "shows all of it, n and p select the next and the previous atom, Escape selects none.");
  pane.addEventListener("click", () => pane.focus({preventScroll: true, focusVisible: false}));
  pane.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
    keys[event.key](); event.preventDefault(); event.stopPropagation();
  });
  const size = new ResizeObserver(function () {
    if (!view.el.clientWidth) return;
    stage.handleResize();
    if (untouched) fit(0);
  });
  size.observe(view.el);
  // nglview keeps every camera, also those of pages without room, and restores the last whenever it is displayed.
  const keepCamera = view.serialize_camera_orientation.bind(view);
  view.serialize_camera_orientation = () => { if (!untouched) keepCamera(); };
  view.set_camera_orientation = () => {};
  // Plotly measures its room before the page has given it any, and again only when the window changes.
  setTimeout(() => window.dispatchEvent(new Event("resize")), 300);
  view.once("remove", function () {
    theme.disconnect(); size.disconnect();
    const renderer = stage.viewer.renderer;
    tip.remove(); stage.dispose(); renderer.forceContextLoss();
  });
  const floats = function (text) {
    return new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  };
  const make = {
    spheres: function (shape, d) {
      for (let i = 0; i < d.radius.length; i++)
        shape.addSphere(d.position.slice(3 * i, 3 * i + 3), d.color.slice(3 * i, 3 * i + 3), d.radius[i], "" + i);
    },
    halos: (shape, d) => shape.addBuffer(new NGL.SphereBuffer(d)),  // nothing to point at
    cylinders: (shape, d) => shape.addBuffer(new NGL.CylinderBuffer(d, {openEnded: false})),
    arrows: (shape, d) => shape.addBuffer(new NGL.ArrowBuffer(d, {aspectRatio: 2.2, radialSegments: 24})),
    ellipsoids: (shape, d) => shape.addBuffer(new NGL.EllipsoidBuffer(d, {sphereDetail: 2})),
  };
  const put = function (name, part) {
    const data = {};
    for (const key in part.data) data[key] = floats(part.data[key]);
    const count = data.radius.length, old = parts[name];
    if (old && old.count === count && part.kind !== "ellipsoids") {
      old.buffers.forEach(buffer => buffer.setAttributes(data));
    } else {
      if (old) { stage.removeComponent(old.component); delete parts[name]; }
      if (count === 0) return;
      const shape = new NGL.Shape(name);
      make[part.kind](shape, data);
      const component = stage.addComponentFromObject(shape);
      const drawn = component.addRepresentation("buffer", {opacity: part.opacity || 1});
      parts[name] = {component: component, count: count, buffers: drawn.repr.bufferList};
    }
  };
  return {
    draw: function (message) {
      if (message.labels) labels = message.labels;
      copies = message.copies;
      for (const name in parts) if (message.names.indexOf(name) < 0) {
        stage.removeComponent(parts[name].component); delete parts[name];
      }
      const isNew = Object.keys(message.parts).some(name => !parts[name] && name !== "halos");
      for (const name in message.parts) put(name, message.parts[name]);
      if (message.camera && message.camera.length) { stage.viewerControls.orient(message.camera); untouched = false; }
      else if (message.fit || (isNew && untouched)) fit(0);  // arrows, say, reach farther than atoms
      stage.viewer.requestRender();
      (view.workbenchLater || []).splice(0).forEach(call => call(this));  // what was asked before there was a picture
      // The kernel sends the next state only after this, so a slow browser is never flooded.
      requestAnimationFrame(() => view.send({type: "workbench_drawn"}));
    },
    fit: () => fit(300),
    download: function (name) {
      stage.makeImage({factor: 2, antialias: true, transparent: false}).then(blob => NGL.download(blob, name));
    },
  };
})(this);
"""
