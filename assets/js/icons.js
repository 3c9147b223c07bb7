/* One set of icons: 24 x 24, strokes of 1.75, drawn here so that no font or file is fetched. */
"use strict";

(() => {
  const PATHS = {
    pen: "M4 20h4L19 9l-4-4L4 16v4M13.5 6.5l4 4",
    library: "M5 4v16M9 4v16M13 5l4-1 4 15-4 1z",
    train: "M4 4v16h16M7.5 15l3.5-4.5 3 2.5 5-7",
    arena: "M12 4v16M8 20h8M5 7h14M5 7l-2.5 6.5a2.8 2.8 0 0 0 5 0zM19 7l-2.5 6.5a2.8 2.8 0 0 0 5 0z",
    models: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
    settings: "M4 7h10M18 7h2M4 17h4M12 17h8M16 5v4M10 15v4",
    plus: "M12 5v14M5 12h14",
    search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M20 20l-4-4",
    x: "M6 6l12 12M18 6L6 18",
    check: "M5 12.5l4.5 4.5L19 7.5",
    chevronLeft: "M15 5l-7 7 7 7",
    chevronRight: "M9 5l7 7-7 7",
    chevronDown: "M5 9l7 7 7-7",
    up: "M7 11v9H4v-9h3m0 0l4-8c1.5 0 2.5 1 2.5 2.5L13 9h5.5c1.2 0 2 1 1.8 2.2l-1.2 7c-.2 1-1 1.8-2 1.8H7",
    down: "M7 13V4H4v9h3m0 0l4 8c1.5 0 2.5-1 2.5-2.5L13 15h5.5c1.2 0 2-1 1.8-2.2l-1.2-7c-.2-1-1-1.8-2-1.8H7",
    retry: "M4 12a8 8 0 0 1 13.7-5.7L20 8.5M20 4v4.5h-4.5M20 12a8 8 0 0 1-13.7 5.7L4 15.5M4 20v-4.5h4.5",
    branch: "M7 4v10M7 14a3 3 0 1 0 0 6 3 3 0 0 0 0-6M17 4a3 3 0 1 0 0 6 3 3 0 0 0 0-6M17 10c0 4-4 4-7.5 5",
    copy: "M9 9h11v11H9zM5 15H4V4h11v1",
    forward: "M4 6h9M4 12h9M4 18h6M16 9l4 3.5-4 3.5z",
    trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
    star: "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9L12 16.9l-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z",
    repeat: "M12 4a8 8 0 1 0 8 8M12 8v4l3 2M16 4h4v4",
    sliders: "M4 7h10M18 7h2M4 17h4M12 17h8M16 5v4M10 15v4",
    stop: "M7 7h10v10H7z",
    send: "M12 19V5M6 11l6-6 6 6",
    menu: "M4 7h16M4 12h16M4 17h16",
    sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
    moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5",
    auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 4v16",
    keys: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
    user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M5 20c.6-4 3.5-5.5 7-5.5s6.4 1.5 7 5.5",
    template: "M4 5h16v5H4zM4 14h7v5H4zM15 14h5v5h-5z",
    cards: "M3 6h5v12H3zM9.5 6h5v12h-5zM16 6h5v12h-5z",
    download: "M12 4v11M7 10.5l5 5 5-5M4 20h16",
    undo: "M8 5L4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
    note: "M5 5h14v10h-7l-4 4v-4H5z",
    dots: "M6 12h.01M12 12h.01M18 12h.01",
    warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
    folder: "M3 6h6l2 2h10v11H3z",
    server: "M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01",
    cpu: "M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
    grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    list: "M4 6h16M4 12h16M4 18h16",
    tag: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
    filter: "M4 5h16l-6 8v6l-4-2v-4z",
    heart: "M12 20C5 15.5 3 12 3 8.8A4.7 4.7 0 0 1 12 7a4.7 4.7 0 0 1 9 1.8c0 3.2-2 6.7-9 11.2z",
    picture: "M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 4M15.5 8.5h.01",
    wand: "M5 19L15 9M17 4v4M15 6h4M19 13v3M17.5 14.5h3M9 4v3M7.5 5.5h3",
    brush: "M19 4l-8.5 8.5M10.5 12.5a3 3 0 0 1 1 3.5c-1 3-4 4-7.5 4 1.5-1.2 1.5-2.5 2-4.5.5-2.2 2.5-3.5 4.5-3z",
    dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01",
    compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
    enlarge: "M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7",
    skip: "M6 6l8 6-8 6zM17 6v12",
    minus: "M5 12h14",
    eraser: "M8 19h11M5.5 13.5l7-8a1.5 1.5 0 0 1 2-.1l4.5 4a1.5 1.5 0 0 1 .1 2.1L12.5 19H9z",
    invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
    summary: "M6 3h9l4 4v14H6zM15 3v4h4M9 12h7M9 16h4",
    external: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  };

  window.Tastemaker = window.Tastemaker || {};
  window.Tastemaker.icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: `tm-icon tm-icon-${name}`, "aria-hidden": "true" })) svg.setAttribute(key, value);
    path.setAttribute("d", PATHS[name] || PATHS.dots);
    svg.append(path);
    return svg;
  };
})();
