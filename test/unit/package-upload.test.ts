/** A package on its way: the client's sender and the node's intake and store, with messages over memory. */
import { expect, test } from "bun:test";
import { LeaseRefused, PackageInvalid, UsageError } from "../../src/base/errors.ts";
import { PackageSender } from "../../src/client/node/upload.ts";
import { Requests, answering } from "../../src/control/requests.ts";
import { OWNER } from "../../src/executor/admission/identity.ts";
import { type PackageClient, PackageIntake } from "../../src/executor/packages/intake.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { CHUNK_BYTES, type Package, pack } from "../../src/package/contents/package.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { packageMessages } from "../../src/protocol/package-messages.ts";
import { Scratch } from "../support/scratch.ts";

type Said = { t: string; id?: number } & Record<string, unknown>;

class Way implements Disposable {
  readonly #scratch = new Scratch();
  readonly heard: Said[] = [];
  readonly said: Said[] = [];
  /** The most chunks that were sent and not yet acknowledged. */
  mostInFlight = 0;
  /** What the node hears instead of a message; undefined for the message itself. */
  between: (message: Said) => Said | undefined = () => undefined;
  readonly sender: PackageSender;
  readonly requests: Requests;

  constructor() {
    const folder = this.#scratch.join("cache");
    const intake = new PackageIntake(new PackageStore({ folder }), () => {});
    const client = { identity: OWNER };
    let inFlight = 0;
    const answer = answering<typeof packageMessages, PackageClient>(
      packageMessages,
      intake.handlers,
      {
        send: (reply) => {
          this.heard.push(reply as Said);
          if (reply.t === "package-chunk-reply") inFlight--;
          setImmediate(() => this.requests.heard(reply));
        },
      },
    );
    const tell = (message: object): void => {
      const said = message as Said;
      this.said.push(said);
      if (said.t === "package-chunk") this.mostInFlight = Math.max(this.mostInFlight, ++inFlight);
      const [came] = new FrameReader().push(encodeFrame(this.between(said) ?? said));
      setImmediate(() => answer(came as never, client));
    };
    this.requests = new Requests({ send: tell });
    this.sender = new PackageSender(this.requests, tell, 10_000);
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}

async function made(bytes: number): Promise<Package> {
  const entry = { path: "fn.js", content: new TextEncoder().encode("export {};") };
  const asset = { path: "asset.bin", content: new Uint8Array(bytes).fill(7) };
  const files = [entry, asset].map((file) => ({ ...file, executable: false }));
  return await pack("fn.js", "fn.js", files);
}

test("a package comes in pieces of which four are in flight, and is stored when the last one is", async () => {
  using way = new Way();
  const sent: number[] = [];
  await way.sender.send(await made(9 * CHUNK_BYTES), ({ sentBytes }) => sent.push(sentBytes));
  expect(way.mostInFlight).toBe(4);
  const chunks = way.heard.filter(({ t }) => t === "package-chunk-reply");
  expect(chunks.map(({ stored }) => stored)).toEqual([...new Array<boolean>(9).fill(false), true]);
  expect(sent).toEqual(sent.toSorted((a, b) => a - b));
  expect(sent.at(-1)).toBe(9 * CHUNK_BYTES + "export {};".length);
  expect(way.said.filter(({ t }) => t === "drop-offer")).toEqual([]);
  expect((await way.sender.list()).map(({ name }) => name)).toEqual(["fn.js"]);
});

test("a package that the node has is not sent again, and two that send it at once send it once", async () => {
  using way = new Way();
  const once = await made(3 * CHUNK_BYTES);
  await Promise.all([way.sender.send(once, undefined), way.sender.send(once, undefined)]);
  await way.sender.send(once, undefined);
  expect(way.said.filter(({ t }) => t === "offer-package")).toHaveLength(2);
  expect(way.said.filter(({ t }) => t === "package-chunk")).toHaveLength(4);
});

test("bytes that are damaged on the way are refused with the file's name, and the upload is dropped", async () => {
  using way = new Way();
  way.between = (message) => {
    if (message.t !== "package-chunk") return undefined;
    way.between = () => undefined;
    return { ...message, bytes: new Uint8Array(CHUNK_BYTES).fill(1) };
  };
  const sending = way.sender.send(await made(9 * CHUNK_BYTES), undefined);
  const error = await sending.catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(PackageInvalid);
  expect((error as Error).message).toMatch(/do(es)? not have the hash/);
  expect(way.said.at(-1)).toMatchObject({ t: "drop-offer" });
  expect(await way.sender.list()).toEqual([]);
});

test("a sender that gives up drops the offer, and what it had sent is removed", async () => {
  using way = new Way();
  const stop = new AbortController();
  const sending = way.sender.send(
    await made(9 * CHUNK_BYTES),
    ({ sentBytes }) => sentBytes > 0 && stop.abort(new Error("enough")),
    stop.signal,
  );
  expect(await sending.catch((error: Error) => error.message)).toBe("enough");
  expect(await way.sender.list()).toEqual([]);
  expect(way.said.filter(({ t }) => t === "drop-offer")).toHaveLength(1);
});

test("a connection that ends in the middle ends the upload with its error", async () => {
  using way = new Way();
  const gone = new LeaseRefused("RFAAS_CONNECTION_CLOSED", "the connection was closed");
  const sending = way.sender.send(await made(9 * CHUNK_BYTES), ({ sentBytes }) => {
    if (sentBytes > 0) way.requests.end(gone);
  });
  expect(await sending.catch((error: unknown) => error)).toBe(gone);
});

test("removing what is not there is wrong usage", async () => {
  using way = new Way();
  const removing = way.sender.remove("0".repeat(64));
  const error = await removing.catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(UsageError);
  expect((error as Error).message).toContain("the node has no package");
});
