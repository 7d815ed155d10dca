/** Uploads that go wrong: whatever happens to either side or to the disk, no half package is ever loaded, and the node goes on. */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { LeaseRefused, PackageInvalid, invoker } from "../../src/index.ts";
import { buildPackage } from "../../src/package/builder.ts";
import { MAX_FILES } from "../../src/package/contents/manifest.ts";
import { type Package, pack } from "../../src/package/contents/package.ts";
import { machineId } from "../../src/control/machine.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { hello } from "../support/stranger.ts";
import { until } from "../support/until.ts";

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

const MODULE = `import { statSync } from "node:fs";
const bytes = statSync(import.meta.dir + "/asset.bin").size;
export const size = (_: Uint8Array, out: Uint8Array) => new TextEncoder().encodeInto(String(bytes), out).written;
`;
const ASSET_BYTES = 3_000_000;

class Place implements Disposable {
  readonly scratch = new Scratch();
  readonly cache = this.scratch.join("cache");
  readonly path = this.scratch.file("fn.ts", MODULE);
  readonly include = ["asset.bin"];

  constructor() {
    this.scratch.file("asset.bin", "a".repeat(ASSET_BYTES));
  }

  serve(cache = this.cache): Promise<ServedNode> {
    return ServedNode.start(this.scratch.join("node.sock"), ["--cache", cache, "--cores", "4"]);
  }

  async build(): Promise<Package> {
    return (await buildPackage(this.path, { include: this.include })).package;
  }

  folder(part: string): string[] {
    return readdirSync(join(this.cache, "packages-1", part));
  }

  [Symbol.dispose](): void {
    this.scratch[Symbol.dispose]();
  }
}

/** A client that has offered the package, and sent so many bytes of it. */
async function halfWay(node: ServedNode, made: Package, bytes: number): Promise<RawPeer> {
  const peer = await RawPeer.connect(node.address);
  const { hash, manifestBytes } = made;
  const machine = machineId();
  peer.send(
    { t: "hello", protocol: PROTOCOL_VERSION, version: "0", pid: 1, fabrics: ["shm"], machine },
    { t: "offer-package", id: 1, upload: 7, hash, manifest: manifestBytes },
    { t: "package-chunk", id: 2, upload: 7, bytes: new Uint8Array(bytes).fill(97) },
  );
  await until(() => peer.find("package-chunk-reply") !== undefined, "bytes are stored");
  return peer;
}

async function works(node: ServedNode, { path, include }: Place): Promise<void> {
  await using rf = await invoker({ node: node.address });
  await using lease = await rf.allocate(path, { include });
  const output = lease.output(Uint8Array, 64);
  const written = lease.invoke("size", lease.input(Uint8Array, 8), output);
  expect(new TextDecoder().decode(output.slice(0, written))).toBe(String(ASSET_BYTES));
}

describe("in the middle of an upload", () => {
  test("a client that vanishes leaves nothing, and the next one sends all", async () => {
    using place = new Place();
    await using node = await place.serve();
    const peer = await halfWay(node, await place.build(), 100_000);
    expect(place.folder("incoming")).toHaveLength(1);
    peer.die();
    await until(() => place.folder("incoming").length === 0, "what it had sent is removed");
    expect(place.folder("stored")).toEqual([]);
    await works(node, place);
  });

  test("a client that gives up by itself leaves nothing, and goes on", async () => {
    using place = new Place();
    await using node = await place.serve();
    using peer = await halfWay(node, await place.build(), 100_000);
    peer.send({ t: "drop-offer", upload: 7 }, { t: "list-packages", id: 8 });
    await until(() => place.folder("incoming").length === 0, "what it had sent is removed");
    await until(() => peer.find("list-packages-reply") !== undefined, "the node answers");
    expect(peer.find("list-packages-reply")!["packages"]).toEqual([]);
  });

  test("a node that is killed has not got the package afterwards, and takes it then", async () => {
    using place = new Place();
    const made = await place.build();
    {
      await using node = await place.serve();
      using _ = await halfWay(node, made, 100_000);
      node.kill("SIGKILL");
      await node.exited;
    }
    expect(place.folder("incoming")).toHaveLength(1);
    expect(place.folder("stored")).toEqual([]);
    await using node = await place.serve();
    await using rf = await invoker({ node: node.address });
    await expect(rf.allocate(`package:${made.hash}`)).rejects.toThrow("has no package");
    await works(node, place);
  });

  test("bytes that are not what the manifest says are refused, and the client is told which file", async () => {
    using place = new Place();
    await using node = await place.serve();
    const made = await place.build();
    using peer = await halfWay(node, made, 1000);
    // The whole of it in pieces, one byte of which is wrong.
    for (let left = ASSET_BYTES - 1000; left > 0; left -= 500_000) {
      const bytes = new Uint8Array(Math.min(left, 500_000)).fill(97);
      if (left === ASSET_BYTES - 1000) bytes[5] = 98;
      peer.send({ t: "package-chunk", id: 3, upload: 7, bytes });
    }
    await until(() => peer.find("failed") !== undefined, "it is refused");
    expect(peer.find("failed")!["message"]).toContain("asset.bin do not have the hash");
    await until(() => place.folder("incoming").length === 0, "what it had sent is removed");
    await works(node, place);
  });

  test("a file that changes while it is sent is an error that says so", async () => {
    using place = new Place();
    await using node = await place.serve();
    await using rf = await invoker({ node: node.address });
    const { include } = place;
    let changed = false;
    const failed = rf.packages.push(place.path, {
      include,
      onProgress: () => {
        if (!changed) place.scratch.file("asset.bin", "b".repeat(ASSET_BYTES));
        changed = true;
      },
    });
    await expect(failed).rejects.toBeInstanceOf(PackageInvalid);
    expect(await rf.packages.list()).toEqual([]);
    await works(node, place);
  });
});

test("an offer of 20,000 files keeps no other client waiting", async () => {
  using place = new Place();
  await using node = await place.serve();
  await works(node, place);
  const [known] = place.folder("stored");
  const files = Array.from({ length: MAX_FILES - 1 }, (_, i) => ({
    ...{ path: `${i % 100}/${i}`, content: new Uint8Array(0), executable: false },
  }));
  const entry = {
    path: "fn.js",
    content: new TextEncoder().encode("export {};"),
    executable: false,
  };
  const { hash, manifestBytes } = await pack("fn.js", "fn.js", [entry, ...files]);
  using offering = await RawPeer.connect(node.address);
  using other = await RawPeer.connect(node.address);
  await using rf = await invoker({ node: node.address });
  for (const peer of [offering, other]) peer.write(hello());
  await until(() => other.find("welcome") !== undefined, "both have greeted");
  const answered = (): boolean => offering.find("offer-package-reply") !== undefined;

  offering.send({ t: "offer-package", id: 1, upload: 1, hash, manifest: manifestBytes });
  await until(() => place.folder("incoming").length > 0 || answered(), "the node works on it");
  // One question after the other, until the offer is answered.
  let answers = 0;
  let leases = 0;
  const statuses = (): number => other.heard.filter(({ t }) => t === "get-status-reply").length;
  const leasing = (async () => {
    while (leases < 2 && !answered()) {
      await using lease = await rf.allocate(`package:${known}`);
      expect(lease.functions).toEqual(["size"]);
      if (!answered()) leases++;
    }
  })();
  while (!answered()) {
    other.send({ t: "get-status", id: answers + 1 });
    if (answers === 0) other.send({ t: "list-packages", id: 1 });
    await until(() => statuses() > answers || answered(), "the node answers", 60_000);
    answers = statuses();
  }
  await leasing;
  const listed = other.find("list-packages-reply");
  expect([leases > 0, answers > 20, listed !== undefined]).toEqual([true, true, true]);
}, 120_000);

test("a client that does not wait for the disk is refused before it fills the node's memory", async () => {
  using place = new Place();
  place.scratch.file("asset.bin", "a".repeat(60_000_000));
  await using node = await place.serve();
  using peer = await halfWay(node, await place.build(), 1000);
  const bytes = new Uint8Array(1024 * 1024).fill(97);
  for (let i = 0; i < 56; i++) peer.send({ t: "package-chunk", id: 3, upload: 7, bytes });
  peer.send({ t: "list-packages", id: 8 });
  await until(() => peer.find("list-packages-reply") !== undefined, "the node has read it all");
  const refused = peer.find("failed");
  // A fast disk may keep up.
  if (refused) expect(refused["message"]).toContain("wait for acknowledgements");
  else expect(peer.heard.filter(({ t }) => t === "package-chunk-reply").length).toBeGreaterThan(48);
});

test("more than a client may send at a time is refused, and the rest goes on", async () => {
  using place = new Place();
  await using node = await place.serve();
  const made = await place.build();
  using peer = await halfWay(node, made, 1000);
  const { hash, manifestBytes } = made;
  for (let id = 8; id < 17; id++)
    peer.send({ t: "offer-package", id, upload: id, hash, manifest: manifestBytes });
  const heard = (kind: string): number => peer.heard.filter(({ t }) => t === kind).length;
  const offers = (): [number, number] => [heard("offer-package-reply"), heard("failed")];
  await until(() => offers()[0] + offers()[1] === 10, "all are answered");
  expect(offers()).toEqual([8, 2]);
  await works(node, place);
});

const root = process.getuid?.() === 0;
if (!root) console.error("SKIPPED: a full disk: mounting a small one needs root");
const small = join(process.env["TMPDIR"] ?? "/tmp", `rfaas-small-${process.pid}`);

/** A file system of 2 MiB. */
function mountSmall(): void {
  mkdirSync(small);
  const { exitCode, stderr } = Bun.spawnSync([
    ...["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "rfaas-test", small],
  ]);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

test.skipIf(!root)(
  "a full disk is a refusal that says so; the node and what is on the disk go on",
  async () => {
    mountSmall();
    try {
      using place = new Place();
      await using node = await place.serve(join(small, "cache"));
      await using rf = await invoker({ node: node.address });
      const code = place.scratch.file("small.ts", "export const f = () => 0;\n");
      await using before = await rf.allocate(code);
      const failed = rf.allocate(place.path, { include: place.include });
      await expect(failed).rejects.toBeInstanceOf(LeaseRefused);
      await expect(failed).rejects.toMatchObject({ code: "RFAAS_PACKAGE_CACHE_FULL" });
      await expect(failed).rejects.toThrow("rfaas serve --cache DIR");
      const view = before.input(Uint8Array, 8);
      expect(before.invoke("f", view, view)).toBe(0);
      await using after = await rf.allocate(code);
      expect(after.functions).toEqual(["f"]);
      expect((await rf.status()).leases).toBe(2);
      expect(readdirSync(join(small, "cache", "packages-1", "incoming"))).toEqual([]);
    } finally {
      Bun.spawnSync(["umount", "-l", small]);
      if (existsSync(small) && statSync(small).isDirectory()) Bun.spawnSync(["rmdir", small]);
    }
  },
);
