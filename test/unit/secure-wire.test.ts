/** TLS of control connections: a client that dials, and both accepting ends: over a socket whose bytes pass by us, and the runtime's own. */
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { type Socket as NetSocket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SecureContext, createSecureContext, connect as tlsConnect } from "node:tls";
import type { Socket } from "bun";
import { PeerNotTrusted } from "../../src/base/errors.ts";
import { type Address, parseAddress } from "../../src/control/address.ts";
import type { Wire, WireEvents } from "../../src/control/connection.ts";
import { dial } from "../../src/control/dial.ts";
import { SecureSocket } from "../../src/control/accept/secure-socket.ts";
import { SecureWire } from "../../src/control/accept/secure-wire.ts";
import { nodeCredentials } from "../support/tls.ts";

type Own = Awaited<ReturnType<typeof nodeCredentials>>;
let own: Own;
let other: Own;
beforeAll(async () => {
  own = await nodeCredentials();
  other = await nodeCredentials();
});

/** What came of one connection, at one end. */
class End implements WireEvents {
  wire: Wire | undefined;
  text = "";
  bytes = 0;
  error: Error | undefined;
  readonly open = Promise.withResolvers<void>();
  readonly over = Promise.withResolvers<void>();
  onDrained = () => {};
  onReceived = () => {};
  opened(wire: Wire): void {
    this.wire = wire;
    this.open.resolve();
  }
  received(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (this.bytes < 1000) this.text += Buffer.from(bytes).toString();
    this.onReceived();
  }
  drained(): void {
    this.onDrained();
  }
  close(error?: Error): void {
    this.error ??= error;
    this.over.resolve();
  }
  /** Resolves when it has received the text. */
  async heard(text: string): Promise<void> {
    while (!this.text.includes(text))
      await new Promise<void>((resolve) => (this.onReceived = resolve));
  }
}

/** The accepting ends, and what the kernel holds of what each has taken while nothing reads it. */
const ENDS = [
  { Secure: SecureWire, unreadBytes: 1024 * 1024 },
  { Secure: SecureSocket, unreadBytes: 32 * 1024 * 1024 },
] as const;
let Secure: (typeof ENDS)[number]["Secure"];

/** Of a {@link SecureWire}, which is told of its raw socket. */
const wires = new WeakMap<Socket<undefined>, SecureWire>();

function accept(socket: Socket<undefined>, secureContext: SecureContext, events: WireEvents): void {
  const made = new Secure(socket, secureContext, events);
  if (made instanceof SecureWire) wires.set(socket, made);
}

const servers: { stop(): void }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

/** A port behind which everything is TLS; `ends` are its connections, `raw` what came over the network. */
function listen({ key, chain }: Own): { port: number; ends: End[]; raw: Buffer[] } {
  const secureContext = createSecureContext({ key, cert: chain, minVersion: "TLSv1.3" });
  const ends: End[] = [];
  const raw: Buffer[] = [];
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      binaryType: "uint8array",
      open(socket) {
        const end = new End();
        ends.push(end);
        accept(socket, secureContext, end);
      },
      data(socket, bytes) {
        raw.push(Buffer.from(bytes));
        wires.get(socket)?.received(bytes);
      },
      drain: (socket) => wires.get(socket)?.drained(),
      end: (socket) => wires.get(socket)?.ended(),
      close: (socket) => wires.get(socket)?.ended(),
      error: (socket) => wires.get(socket)?.ended(),
    },
  });
  servers.push({ stop: () => server.stop(true) });
  return { port: server.port, ends, raw };
}

const at = (port: number, { fingerprint }: Own): Address =>
  parseAddress(`rfaas://127.0.0.1:${port}?key=${fingerprint}`);

const bytesOf = (text: string) => Buffer.from(text);

/** A socket without TLS, and all that it received. */
async function plain(port: number): Promise<{ socket: NetSocket; over: Promise<Buffer> }> {
  const socket = connect({ host: "127.0.0.1", port });
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => void parts.push(part));
  socket.on("error", () => {});
  const over = new Promise<Buffer>((resolve) =>
    socket.once("close", () => resolve(Buffer.concat(parts))),
  );
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  return { socket, over };
}

describe.each(ENDS)("$Secure.name", ({ Secure: each, unreadBytes }) => {
  beforeAll(() => void (Secure = each));
  describe("a connection", () => {
    test("carries both ways what no wire shows, and ends with its last words", async () => {
      const { port, ends, raw } = listen(own);
      const client = new End();
      const dialling = dial(at(port, own), client);
      await dialling.connected;
      expect(dialling.acquaintance()).toEqual({ by: "pin", key: own.fingerprint });
      expect(dialling.reached()).toEqual({ address: "127.0.0.1", port });
      client.wire!.write(bytesOf("a secret of the client"));
      const [server] = ends;
      await server!.heard("a secret of the client");
      server!.wire!.write(bytesOf("an answer"));
      server!.wire!.write(bytesOf("the last word"));
      server!.wire!.end();
      await client.heard("the last word");
      await client.over.promise;
      expect(client.text).toBe("an answerthe last word");
      expect(Buffer.concat(raw).includes("secret")).toBe(false);
      client.wire!.end();
      await server!.over.promise;
    });

    test("whose reader throws is closed with the error, and others go on", async () => {
      const { port, ends } = listen(own);
      const [client, other] = [new End(), new End()];
      await dial(at(port, own), client).connected;
      await dial(at(port, own), other).connected;
      const [server] = ends;
      server!.onReceived = () => {
        throw new Error("a mistake of the reader");
      };
      client.wire!.write(bytesOf("a message"));
      await server!.over.promise;
      expect(server!.error?.message).toBe("a mistake of the reader");
      other.wire!.write(bytesOf("another message"));
      await ends[1]!.heard("another message");
      for (const { wire } of [client, other]) wire!.terminate();
    });

    test("takes no more than a peer reads, and goes on when it reads", async () => {
      const { port, ends } = listen(own);
      const socket = tlsConnect({ host: "127.0.0.1", port, rejectUnauthorized: false });
      await new Promise<void>((resolve) => socket.once("secureConnect", resolve));
      socket.pause();
      await ends[0]!.open.promise;
      const { wire } = ends[0]!;
      const piece = new Uint8Array(64 * 1024);
      const total = 64 * 1024 * 1024;
      let sent = 0;
      let refusals = 0;
      const fill = () => {
        while (sent < total) {
          const taken = wire!.write(piece);
          if (taken === 0) return void refusals++;
          sent += taken;
        }
      };
      ends[0]!.onDrained = fill;
      fill();
      expect(refusals).toBe(1);
      expect(sent).toBeLessThan(unreadBytes);
      let got = 0;
      const all = Promise.withResolvers<void>();
      socket.on("data", (bytes) => {
        got += bytes.length;
        if (got === total) all.resolve();
      });
      socket.resume();
      await all.promise;
      expect(sent).toBe(total);
      expect(refusals).toBeGreaterThan(1);
      socket.destroy();
      await ends[0]!.over.promise;
    });

    test("to another key than the pinned one is given up before a byte is sent over it", async () => {
      const { port, ends } = listen(other);
      const client = new End();
      const dialling = dial(at(port, own), client);
      const error = await dialling.connected.catch((error: unknown) => error);
      expect(error).toBeInstanceOf(PeerNotTrusted);
      expect(error).toMatchObject({ seen: other.fingerprint });
      expect(client.wire).toBeUndefined();
      await ends[0]!.over.promise;
      expect(ends[0]!.bytes).toBe(0);
    });

    test("whose peer says no more is told what was said last, and is over", async () => {
      const { port, ends } = listen(own);
      const socket = tlsConnect({ host: "127.0.0.1", port, rejectUnauthorized: false });
      await new Promise<void>((resolve) => socket.once("secureConnect", resolve));
      let heard = "";
      socket.on("data", (bytes) => void (heard += bytes.toString()));
      await ends[0]!.open.promise;
      ends[0]!.wire!.write(bytesOf("the last word"));
      socket.end("and mine");
      await ends[0]!.heard("and mine");
      await ends[0]!.over.promise;
      ends[0]!.wire!.end();
      await new Promise<void>((resolve) => socket.once("close", resolve));
      expect(heard).toBe("the last word");
    });

    test("to a peer that goes without a word is over", async () => {
      const { port, ends } = listen(own);
      const client = new End();
      const dialling = dial(at(port, own), client);
      await dialling.connected;
      await ends[0]!.open.promise;
      client.wire!.terminate();
      await ends[0]!.over.promise;
      expect(ends[0]!.wire!.write(bytesOf("x"))).toBe(0);
    });

    test("is remembered where nothing is pinned, and no other key is taken there", async () => {
      const before = process.env["XDG_CONFIG_HOME"];
      const folder = mkdtempSync(join(tmpdir(), "rfaas-met-"));
      process.env["XDG_CONFIG_HOME"] = folder;
      try {
        const { port } = listen(own);
        const dialling = dial(parseAddress(`rfaas://127.0.0.1:${port}`), new End());
        await dialling.connected;
        expect(dialling.acquaintance()).toEqual({ by: "local", key: own.fingerprint });
        dialling.abort();
        servers.pop()!.stop();
        const secureContext = createSecureContext({ key: other.key, cert: other.chain });
        const server = Bun.listen({
          hostname: "127.0.0.1",
          port,
          socket: {
            open: (socket) => accept(socket, secureContext, new End()),
            data: (socket, bytes) => wires.get(socket)?.received(bytes),
            close: (socket) => wires.get(socket)?.ended(),
          },
        });
        servers.push({ stop: () => server.stop(true) });
        const again = dial(parseAddress(`rfaas://127.0.0.1:${port}`), new End());
        expect(again.connected).rejects.toMatchObject({
          code: "RFAAS_KEY_CHANGED",
          seen: other.fingerprint,
          remembered: own.fingerprint,
        });
        await again.connected.catch(() => {});
      } finally {
        if (before === undefined) delete process.env["XDG_CONFIG_HOME"];
        else process.env["XDG_CONFIG_HOME"] = before;
        rmSync(folder, { recursive: true });
      }
    });

    test("that is aborted while it begins reaches nobody's hands", async () => {
      const { port } = listen(own);
      const client = new End();
      const dialling = dial(at(port, own), client);
      dialling.abort();
      expect(dialling.connected).rejects.toThrow("aborted");
      await dialling.connected.catch(() => {});
      expect(client.wire).toBeUndefined();
    });
  });

  describe("what is no TLS 1.3", () => {
    test("ends by an alert: garbage, and an older version", async () => {
      const { port, ends } = listen(own);
      const { socket, over } = await plain(port);
      socket.write("\x16GET / HTTP/1.1\r\n\r\n");
      await over;
      await ends[0]!.over.promise;
      expect(ends[0]!.wire).toBeUndefined();
      const old = tlsConnect({
        ...{ host: "127.0.0.1", port, rejectUnauthorized: false },
        ...{ minVersion: "TLSv1.2", maxVersion: "TLSv1.2" },
      });
      const error = await new Promise<Error>((resolve) => old.once("error", resolve));
      expect((error as NodeJS.ErrnoException).code).toContain("PROTOCOL_VERSION");
      await ends[1]!.over.promise;
    });

    test("and what has no end is ended", async () => {
      const { port, ends } = listen(own);
      const { socket, over } = await plain(port);
      // A record of the handshake that is complete, and begins a message that never is.
      const record = Buffer.alloc(5 + 16_000);
      record.set([0x16, 3, 1, 16_000 >> 8, 16_000 & 0xff, 1, 0xff, 0xff, 0xff]);
      for (let i = 0; i < 20; i++) socket.write(record);
      await over;
      await ends[0]!.over.promise;
    });

    test("a peer that goes at any byte of the handshake leaves nothing behind", async () => {
      const { port, ends, raw } = listen(own);
      const whole = dial(at(port, own), new End());
      await whole.connected;
      const hello = raw[0]!;
      whole.abort();
      await ends[0]!.over.promise;
      for (let length = 1; length <= hello.length; length += 29) {
        const { socket } = await plain(port);
        socket.write(hello.subarray(0, length), () => socket.resetAndDestroy());
      }
      const count = Math.ceil(hello.length / 29);
      while (ends.length < count + 1) await new Promise<void>((resolve) => setImmediate(resolve));
      for (const end of ends) await end.over.promise;
      const after = dial(at(port, own), new End());
      await after.connected;
      after.abort();
    });
  });

  test("a handshake that comes byte by byte is one", async () => {
    const { port, ends } = listen(own);
    // A relay that passes single bytes on.
    const relay = Bun.listen<{ to: NetSocket }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          const to = connect({ host: "127.0.0.1", port });
          to.setNoDelay(true);
          to.on("data", (bytes) => void socket.write(bytes));
          socket.data = { to };
        },
        async data({ data: { to } }, bytes) {
          for (const byte of bytes) to.write(Uint8Array.of(byte));
        },
        close: ({ data: { to } }) => void to.destroy(),
      },
    });
    servers.push({ stop: () => relay.stop(true) });
    const client = new End();
    await dial(at(relay.port, own), client).connected;
    client.wire!.write(bytesOf("slowly"));
    await ends[0]!.heard("slowly");
    client.wire!.terminate();
  });
});
