import { defineConfig } from "vitest/config";

// The server that the page is developed against; a built page is served by it and needs no proxy.
const server = "http://127.0.0.1:8000";

export default defineConfig({
  base: "/",
  // MapLibre's worker is an ES module; the default "iife" would break its imports.
  worker: { format: "es" },
  build: {
    outDir: "../python/fleetwire/console_dist",
    emptyOutDir: true,
    target: "baseline-widely-available",
    // The world outline must stay a file of its own that a browser can cache: never a data: address.
    assetsInlineLimit: 0,
    // MapLibre alone has 1.1 MB before compression, Swagger UI 1.5.
    chunkSizeWarningLimit: 2000,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "api-docs.html"], checks: { pluginTimings: false } },
  },
  server: {
    proxy: {
      "/api": server,
      "/ws": { target: server, ws: true },
    },
  },
  test: {
    include: ["tests/**/*.test.ts"],
  },
});
