// Loads the provider's bindings as they are used instead of all 2,430 modules at once. The package ships this
// index for itself; nothing but the time and the memory of a synthesis changes, and a test compares both outputs.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");

const resolveFilename = Module._resolveFilename;

Module._resolveFilename = function resolveLazily(...request) {
  const file = resolveFilename.apply(this, request);
  if (!file.endsWith("/lib/index.js")) return file;
  const lazy = file.slice(0, -"index.js".length) + "lazy-index.js";
  return fs.existsSync(lazy) ? lazy : file;
};
