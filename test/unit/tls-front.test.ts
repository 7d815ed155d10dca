/** HTTPS of the manager, with limits that a test can wait for: what is slow, idle or too much ends, and the rest is served. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { once } from "node:events";
import { type Server as HttpServer, createServer } from "node:http";
import { type AddressInfo, type Server, type Socket, connect } from "node:net";
import {
  type SecureContext,
  type TLSSocket,
  connect as connectTls,
  createSecureContext,
} from "node:tls";
import { tlsFront } from "../../src/manager/http/tls-front.ts";
import { nodeCredentials } from "../support/tls.ts";

const LATE = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

let contexts: SecureContext[];
beforeAll(async () => {
  const all = await Promise.all(["first", "second"].map((name) => nodeCredentials(name)));
  contexts = all.map(({ key, chain }) =>
    createSecureContext({ key, cert: chain, minVersion: "TLSv1.3" }),
  );
});

const running: { http: HttpServer; front: Server }[] = [];
afterAll(() => {
  for (const { http, front } of running) {
    front.close();
    http.closeAllConnections();
  }
});

/** A server that reads a body and says how long it is; `which` of the certificates a connection gets. */
async function serve(limits: { idleMs?: number; slowMs?: number; maxHandshakes?: number } = {}) {
  const which = { certificate: 0 };
  const http = createServer((request, response) => {
    let bytes = 0;
    request.on("data", (part: Buffer) => (bytes += part.length));
    request.on("end", () => response.end(`${bytes}`));
  });
  const front = tlsFront({
    ...{ http, secureContext: () => contexts[which.certificate]!, slowAnswer: LATE },
    ...{ idleMs: 60_000, slowMs: 60_000, maxHandshakes: 100, ...limits },
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  running.push({ http, front });
  return { port: (front.address() as AddressInfo).port, which };
}

async function opened(port: number): Promise<TLSSocket> {
  const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  return socket;
}

/** All that came until the connection was over. */
async function rest(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => {});
  await new Promise((resolve) => socket.on("close", resolve));
  return Buffer.concat(parts).toString();
}

const commonName = (socket: TLSSocket): unknown => socket.getPeerCertificate().subject.CN;

test("a connection gets the certificate that counts when it comes, and keeps it", async () => {
  const { port, which } = await serve();
  const old = await opened(port);
  which.certificate = 1;
  const fresh = await opened(port);
  expect([commonName(old), commonName(fresh)]).toEqual(["first", "second"]);
  for (const socket of [old, fresh]) {
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc");
    expect(await rest(socket)).toEndWith("3");
  }
});

test("a connection without a request ends, before its first one and after its last", async () => {
  const { port } = await serve({ idleMs: 1_000 });
  expect(await rest(await opened(port))).toBe("");
  const socket = await opened(port);
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  expect(await rest(socket)).toStartWith("HTTP/1.1 200 OK");
});

test("a header that does not come to its end does not keep its connection", async () => {
  const { port } = await serve({ idleMs: 100 });
  const socket = await opened(port);
  const dripping = setInterval(() => socket.write("x"), 10);
  socket.write("GET / HTTP/1.1\r\nhost: ");
  expect(await rest(socket)).toBe("");
  clearInterval(dripping);
});

test("a body that does not come to its end is told so", async () => {
  const { port } = await serve({ slowMs: 100 });
  const socket = await opened(port);
  const dripping = setInterval(() => socket.write("x"), 10);
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
  expect(await rest(socket)).toBe(LATE);
  clearInterval(dripping);
});

test("of too many handshakes the oldest ends", async () => {
  const { port } = await serve({ maxHandshakes: 2 });
  const silent = await Promise.all(
    [0, 0].map(async () => {
      const socket = connect({ host: "127.0.0.1", port });
      await once(socket, "connect");
      return socket;
    }),
  );
  const ends = silent.map((socket) => rest(socket));
  const socket = await opened(port);
  expect(await Promise.race(ends)).toBe("");
  socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  expect(await rest(socket)).toStartWith("HTTP/1.1 200 OK");
  for (const one of silent) one.destroy();
});

test("what is no TLS ends", async () => {
  const { port } = await serve();
  const socket = connect({ host: "127.0.0.1", port });
  socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  expect(await rest(socket)).not.toContain("200");
});
