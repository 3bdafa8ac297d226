// Loaded before every client (node --require): whoever tries to leave this machine is refused, and noted.
"use strict";

const { appendFileSync } = require("node:fs");
const { Socket } = require("node:net");

const HERE = new Set(["127.0.0.1", "::1", "localhost"]);
const connect = Socket.prototype.connect;

Socket.prototype.connect = function (...given) {
  // net.connect() hands over its arguments in a list; Socket.connect() has them bare: options, or port and host.
  const args = Array.isArray(given[0]) ? given[0] : given;
  const host = typeof args[0] === "object" ? args[0].host : typeof args[1] === "string" ? args[1] : undefined;
  if (host === undefined || HERE.has(host)) return connect.apply(this, given);
  appendFileSync(process.env.LOOPBACK_NOTES, `${host} <- ${process.argv.slice(1).join(" ")}\n`);
  process.nextTick(() => this.destroy(new Error(`only loopback may be reached, not ${host}`)));
  return this;
};
