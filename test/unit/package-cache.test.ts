import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError, PackageInvalid, PackageTooLarge } from "../../src/base/errors.ts";
import type { IncomingPackage } from "../../src/executor/packages/incoming.ts";
import { PackageCache, type PackageCacheOptions } from "../../src/executor/packages/cache.ts";
import { OWN_USER, type PackageUser } from "../../src/executor/packages/space.ts";
import { type Package, pack } from "../../src/package/contents/package.ts";
import { Scratch } from "../support/scratch.ts";

const MINUTE_MS = 60_000;

class Caches implements Disposable {
  readonly scratch = new Scratch();
  /** Milliseconds, as all nodes that share the folder read them. */
  nowMs = Date.now();

  /** A node's cache; all share one folder. */
  open(options: PackageCacheOptions = {}): PackageCache {
    return new PackageCache({
      folder: this.scratch.join("cache"),
      now: () => this.nowMs,
      ...options,
    });
  }

  [Symbol.dispose](): void {
    this.scratch[Symbol.dispose]();
  }
}

type Files = Record<string, string | Uint8Array>;

const packageOf = (files: Files, executable = false): Promise<Package> =>
  pack(
    "fn.ts",
    Object.keys(files)[0]!,
    Object.entries(files).map(([path, content]) => ({
      path,
      content: typeof content === "string" ? new TextEncoder().encode(content) : content,
      executable,
    })),
  );

/** The bytes of what is missing, in order. */
function missingBytes(made: Package, incoming: IncomingPackage): Uint8Array {
  return Buffer.concat(
    incoming.missing.map((i) => made.contents.get(made.manifest.files[i]!.path) as Uint8Array),
  );
}

async function store(
  cache: PackageCache,
  made: Package,
  from?: PackageUser,
): Promise<IncomingPackage> {
  const incoming = await cache.receive(made.hash, made.manifestBytes, from);
  await incoming.write(missingBytes(made, incoming));
  incoming.finish();
  return incoming;
}

const foldersIn = (cache: PackageCache, part: string): string[] =>
  readdirSync(join(cache.folder, part));

describe("a package", () => {
  test("is unknown until all of it has come, and then has the bytes that were sent", async () => {
    using caches = new Caches();
    const cache = caches.open();
    const made = await packageOf({ "fn.js": "code", "data/a.bin": "x".repeat(5000), empty: "" });
    expect(cache.use(made.hash)).toBeUndefined();
    const incoming = await cache.receive(made.hash, made.manifestBytes);
    const bytes = missingBytes(made, incoming);
    expect(bytes.length).toBe(5004);
    for (let at = 0; at < bytes.length; at += 999) {
      expect(cache.use(made.hash)).toBeUndefined();
      await incoming.write(bytes.subarray(at, at + 999));
    }
    expect(incoming.complete).toBe(true);
    incoming.finish();
    const use = cache.use(made.hash)!;
    expect(use.name).toBe("fn.ts");
    expect(readFileSync(use.path, "utf8")).toBe("code");
    expect(readFileSync(join(dirname(use.path), "data/a.bin"), "utf8")).toBe("x".repeat(5000));
    expect(readFileSync(join(dirname(use.path), "empty"), "utf8")).toBe("");
    expect(foldersIn(cache, "incoming")).toEqual([]);
  });

  test("keeps whether a file may be executed, and cannot be written by mistake", async () => {
    using caches = new Caches();
    const cache = caches.open();
    const modes: number[] = [];
    for (const executable of [false, true]) {
      const made = await packageOf({ "fn.so": "same" }, executable);
      await store(cache, made);
      modes.push(statSync(cache.use(made.hash)!.path).mode & 0o777);
    }
    expect(modes).toEqual([0o444, 0o555]);
  });

  test("is sealed once it is stored, whatever the umask, and can still be removed", async () => {
    using caches = new Caches();
    const former = process.umask(0o077);
    try {
      const cache = caches.open();
      const made = await packageOf({ "fn.js": "code", "deep/er/a.bin": "more", empty: "" });
      await store(cache, made);
      const at = (path: string): number =>
        statSync(join(cache.folder, "stored", made.hash, path)).mode & 0o777;
      const folders = ["", "root", "root/deep", "root/deep/er"];
      expect(folders.map(at)).toEqual(folders.map(() => 0o555));
      const files = ["manifest", "sender", "root/fn.js", "root/empty", "root/deep/er/a.bin"];
      expect(files.map(at)).toEqual(files.map(() => 0o444));
      expect(cache.remove(made.hash)).toBe("removed");
      expect(foldersIn(cache, "incoming")).toEqual([]);
    } finally {
      process.umask(former);
    }
  });

  test("with files that another one has needs only the rest of its bytes", async () => {
    using caches = new Caches();
    const cache = caches.open();
    const asset = "m".repeat(100_000);
    await store(cache, await packageOf({ "fn.js": "one", "model.bin": asset }));
    const changed = await packageOf({ "fn.js": "two", "model.bin": asset, "copy.bin": asset });
    const incoming = await store(cache, changed);
    expect(incoming.storedBytes).toBe(3);
    const root = dirname(cache.use(changed.hash)!.path);
    expect(readFileSync(join(root, "copy.bin"), "utf8")).toBe(asset);
    expect(statSync(join(root, "model.bin")).nlink).toBe(3);
  });

  test("with a file twice needs it once", async () => {
    using caches = new Caches();
    const cache = caches.open();
    const made = await packageOf({ "fn.js": "code", "a.bin": "same", "b.bin": "same" });
    expect((await store(cache, made)).storedBytes).toBe(8);
    const root = dirname(cache.use(made.hash)!.path);
    expect(readFileSync(join(root, "b.bin"), "utf8")).toBe("same");
  });

  test("whose manifest has another hash than it is sent with is refused", async () => {
    using caches = new Caches();
    const made = await packageOf({ "fn.js": "code" });
    const send = () => caches.open().receive("0".repeat(64), made.manifestBytes);
    await expect(send()).rejects.toThrow(PackageInvalid);
    await expect(send()).rejects.toThrow("does not have the hash");
  });

  test.each<[what: string, change: (bytes: Uint8Array) => Uint8Array]>([
    ["a changed byte", (bytes) => bytes.with(2, 1)],
    ["more bytes", (bytes) => Buffer.concat([bytes, bytes])],
  ])("that comes with %s is refused and leaves nothing", async (_, change) => {
    using caches = new Caches();
    const cache = caches.open();
    const made = await packageOf({ "fn.js": "code" });
    const incoming = await cache.receive(made.hash, made.manifestBytes);
    const changed = change(missingBytes(made, incoming));
    await expect(incoming.write(changed)).rejects.toBeInstanceOf(PackageInvalid);
    incoming.abandon();
    expect(cache.use(made.hash)).toBeUndefined();
    expect(foldersIn(cache, "incoming")).toEqual([]);
    expect(foldersIn(cache, "stored")).toEqual([]);
  });

  test("that stops in the middle leaves nothing, and can be sent again", async () => {
    using caches = new Caches();
    const cache = caches.open();
    const made = await packageOf({ "fn.js": "code", "a.bin": "more" });
    const incoming = await cache.receive(made.hash, made.manifestBytes);
    await incoming.write(new TextEncoder().encode("mo"));
    expect(incoming.complete).toBe(false);
    incoming.abandon();
    expect(foldersIn(cache, "incoming")).toEqual([]);
    await store(cache, made);
    expect(cache.use(made.hash)).toBeDefined();
  });

  test("that two send at once is there once, and neither fails", async () => {
    using caches = new Caches();
    const [one, other] = [caches.open(), caches.open()];
    const made = await packageOf({ "fn.js": "code" });
    const first = await one.receive(made.hash, made.manifestBytes);
    const second = await other.receive(made.hash, made.manifestBytes);
    for (const incoming of [first, second]) {
      await incoming.write(missingBytes(made, incoming));
      incoming.finish();
    }
    expect(foldersIn(one, "stored")).toEqual([made.hash]);
    expect(foldersIn(one, "incoming")).toEqual([]);
    expect([one, other].every((cache) => cache.use(made.hash))).toBe(true);
  });

  test("that lost bytes on disk is not loaded, and is taken again", async () => {
    using caches = new Caches();
    const made = await packageOf({ "fn.js": "code", "a.bin": "more" });
    await store(caches.open(), made);
    const fresh = caches.open();
    const damaged = join(fresh.folder, "stored", made.hash, "root", "a.bin");
    chmodSync(damaged, 0o644);
    truncateSync(damaged, 2);
    expect(fresh.use(made.hash)).toBeUndefined();
    await store(fresh, made);
    expect(readFileSync(damaged, "utf8")).toBe("more");
  });
});

describe("the cache", () => {
  const big = (fill: string) => packageOf({ "fn.js": fill.repeat(1000) });

  test("evicts what was not used for longest", async () => {
    using caches = new Caches();
    const cache = caches.open({ limitBytes: 3000 });
    const made = await Promise.all(["a", "b", "c", "d"].map(big));
    for (const each of made.slice(0, 3)) {
      await store(cache, each);
      caches.nowMs += MINUTE_MS;
    }
    cache.use(made[0]!.hash)!.end();
    caches.nowMs += MINUTE_MS;
    await store(cache, made[3]!);
    expect(made.map(({ hash }) => cache.find(hash) !== undefined)).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(cache.list().map(({ hash }) => hash)).toEqual(
      [made[3]!, made[0]!, made[2]!].map(({ hash }) => hash),
    );
  });

  test("never evicts what a lease uses, of whichever node", async () => {
    using caches = new Caches();
    const [cache, other] = [caches.open({ limitBytes: 2000 }), caches.open()];
    const [first, second, third] = (await Promise.all(["a", "b", "c"].map(big))) as [
      Package,
      Package,
      Package,
    ];
    await store(cache, first);
    await store(cache, second);
    const uses = [cache.use(first.hash)!, other.use(second.hash)!];
    caches.nowMs += MINUTE_MS;
    await expect(cache.receive(third.hash, third.manifestBytes)).rejects.toThrow(PackageTooLarge);
    expect(cache.remove(first.hash)).toBe("in use");
    expect(cache.remove(second.hash)).toBe("in use");
    expect(uses.every(({ path }) => existsSync(path))).toBe(true);
    uses[0]!.end();
    uses[0]!.end();
    await store(cache, third);
    expect(cache.find(first.hash)).toBeUndefined();
    expect(existsSync(uses[1]!.path)).toBe(true);
  });

  const [ALICE, BOB] = ["alice", "bob"].map((name) => ({ name, shared: false })) as [
    PackageUser,
    PackageUser,
  ];
  const offer = async (cache: PackageCache, fill: string, from: PackageUser) => {
    const made = await big(fill);
    const incoming = await cache.receive(made.hash, made.manifestBytes, from);
    return { made, incoming, bytes: missingBytes(made, incoming) };
  };

  test("is taken by no offer whose bytes do not come", async () => {
    using caches = new Caches();
    const cache = caches.open({ limitBytes: 3000, userLimitBytes: 3000 });
    const kept = await big("z");
    await store(cache, kept, BOB);
    const offers = await Promise.all(["a", "b", "c", "d"].map((fill) => offer(cache, fill, ALICE)));
    expect(cache.find(kept.hash)).toBeDefined();
    await store(cache, await big("y"), BOB);
    expect(cache.find(kept.hash)).toBeDefined();
    // Bytes take as much as they are.
    await offers[0]!.incoming.write(offers[0]!.bytes.subarray(0, 900));
    expect(cache.find(kept.hash)).toBeDefined();
    await offers[1]!.incoming.write(offers[1]!.bytes.subarray(0, 101));
    expect(cache.find(kept.hash)).toBeUndefined();
    for (const { incoming } of offers) incoming.abandon();
    await store(cache, kept, BOB);
    expect(cache.list()).toHaveLength(2);
  });

  test("gives one user a share of it, and makes room in that share alone", async () => {
    using caches = new Caches();
    const cache = caches.open({ limitBytes: 4000 });
    const bobs = await big("z");
    await store(cache, bobs, BOB);
    const made: Package[] = [];
    for (const fill of ["a", "b", "c"]) {
      caches.nowMs += MINUTE_MS;
      made.push(await big(fill));
      await store(cache, made.at(-1)!, ALICE);
    }
    expect(made.map(({ hash }) => cache.find(hash) !== undefined)).toEqual([false, true, true]);
    expect(cache.find(bobs.hash)).toBeDefined();
    const uses = made.slice(1).map(({ hash }) => cache.use(hash)!);
    const refused = offer(cache, "d", ALICE);
    await expect(refused).rejects.toThrow(
      /packages of alice may take 2\.0 KiB .*--user-cache-limit of rfaas serve/,
    );
    // The node's own user has the whole.
    for (const fill of ["e", "f"]) await store(cache, await big(fill), OWN_USER);
    for (const use of uses) use.end();
  });

  test("lets one of two uploads have the room that both began to fill", async () => {
    using caches = new Caches();
    const cache = caches.open({ limitBytes: 1500, userLimitBytes: 1500 });
    const [first, second] = [await offer(cache, "a", ALICE), await offer(cache, "b", BOB)];
    await first.incoming.write(first.bytes.subarray(0, 800));
    await second.incoming.write(second.bytes.subarray(0, 600));
    await expect(second.incoming.write(second.bytes.subarray(600))).rejects.toThrow(
      PackageTooLarge,
    );
    second.incoming.abandon();
    await first.incoming.write(first.bytes.subarray(800));
    first.incoming.finish();
    expect(cache.find(first.made.hash)).toBeDefined();
    expect(foldersIn(cache, "incoming")).toEqual([]);
  });

  test("forgets the marks of nodes that are gone", async () => {
    using caches = new Caches();
    const [cache, gone] = [caches.open(), caches.open()];
    const made = await big("a");
    await store(gone, made);
    gone.use(made.hash);
    await gone.receive((await big("b")).hash, (await big("b")).manifestBytes);
    expect(cache.remove(made.hash)).toBe("in use");
    caches.nowMs += 11 * MINUTE_MS;
    expect(cache.remove(made.hash)).toBe("removed");
    expect(cache.list()).toEqual([]);
    expect(foldersIn(cache, "incoming")).toEqual([]);
    expect(foldersIn(cache, "users")).toEqual([]);
  });

  test("counts equal files once", async () => {
    using caches = new Caches();
    const cache = caches.open({ limitBytes: 1100 });
    const asset = "m".repeat(1000);
    const made = await Promise.all(
      ["1", "2", "3"].map((code) => packageOf({ "fn.js": code, "model.bin": asset })),
    );
    for (const each of made) await store(cache, each);
    expect(made.every(({ hash }) => cache.find(hash) !== undefined)).toBe(true);
  });

  test("notices what another node has removed or stored", async () => {
    using caches = new Caches();
    const [cache, other] = [caches.open(), caches.open()];
    const made = await big("a");
    await store(cache, made);
    expect(other.list().map(({ hash }) => hash)).toEqual([made.hash]);
    expect(other.recent(1)).toEqual([{ hash: made.hash, name: "fn.ts" }]);
    expect(other.recent(0)).toEqual([]);
    expect(other.remove(made.hash)).toBe("removed");
    expect(cache.use(made.hash)).toBeUndefined();
    expect(cache.remove(made.hash)).toBe("unknown");
  });

  test("refuses a package over its bound, and says which one to raise", async () => {
    using caches = new Caches();
    const made = await big("a");
    for (const options of [{ packageLimitBytes: 999 }, { limitBytes: 999 }])
      await expect(caches.open(options).receive(made.hash, made.manifestBytes)).rejects.toThrow(
        /takes 999 B; .*--package-limit and --cache-limit/,
      );
  });
});

describe("the cache's folder", () => {
  const open = (folder: string) => new PackageCache({ folder }).folder;

  test("is private", () => {
    using scratch = new Scratch();
    const folder = open(scratch.join("deep/cache"));
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(dirname(folder)).mode & 0o777).toBe(0o700);
  });

  test("is closed to others where it was open, and the folder that was named stays as it is", () => {
    using scratch = new Scratch();
    const named = scratch.join("cache");
    mkdirSync(join(named, "packages-1", "stored"), { recursive: true });
    for (const path of ["", "packages-1", "packages-1/stored"]) chmodSync(join(named, path), 0o755);
    const folder = open(named);
    const modes = [named, folder, join(folder, "stored")].map(
      (path) => statSync(path).mode & 0o777,
    );
    expect(modes).toEqual([0o755, 0o700, 0o700]);
  });

  test("is refused where others can write", () => {
    using scratch = new Scratch();
    const folder = scratch.join("open");
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    expect(() => open(folder)).toThrow(EnvironmentError);
    expect(() => open(folder)).toThrow("can be written by others");
  });

  test.skipIf(process.getuid?.() !== 0)("is refused when it is somebody else's", async () => {
    using scratch = new Scratch();
    const folder = scratch.join("foreign");
    mkdirSync(folder, { mode: 0o700 });
    const { chownSync } = await import("node:fs");
    chownSync(folder, 65_534, 65_534);
    expect(() => open(folder)).toThrow("belongs to user 65534");
  });

  test("is refused when it is a file, or a link to somewhere", () => {
    using scratch = new Scratch();
    const file = scratch.file("file", "");
    expect(() => open(file)).toThrow(EnvironmentError);
    const own = open(scratch.join("cache"));
    rmSync(own, { recursive: true });
    symlinkSync("/tmp", own);
    expect(() => open(scratch.join("cache"))).toThrow(EnvironmentError);
  });
});

if (process.getuid?.() !== 0)
  console.error("SKIPPED: a cache that is somebody else's: making one needs root");
