/** `rfaas serve --watch`: builds a module again whenever something that went into it changes. */
import { countOf } from "../../base/units.ts";
import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import { type Built, buildPackage } from "../../package/builder.ts";
import type { PackageOptions } from "../../package/options.ts";
import { changedAfter, stampOf } from "../../package/bundle/stamp.ts";
import { type Package, piecesOf } from "../../package/contents/package.ts";
import { OWN_USER } from "./space.ts";
import type { PackageStore } from "./store.ts";

export interface ModuleWatchEvents {
  /** Another build is in the cache. Returns how many leases go over to it. */
  built(hash: string): Promise<number>;
  log(level: "info" | "warn", message: string): void;
}

/** An editor writes a file in several steps. */
const SETTLE_MS = 30;

export class ModuleWatch {
  readonly #path: string;
  readonly #options: PackageOptions;
  readonly #packages: PackageStore;
  readonly #events: ModuleWatchEvents;
  readonly #folders = new Map<string, FSWatcher>();
  #inputs: readonly string[];
  /** The inputs as the last build read them. */
  #stamp = "";
  #hash: string | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #building = false;

  constructor(
    path: string,
    options: PackageOptions,
    packages: PackageStore,
    events: ModuleWatchEvents,
  ) {
    this.#path = path;
    this.#options = options;
    this.#packages = packages;
    this.#events = events;
    this.#inputs = [path];
  }

  start(): void {
    this.#events.log("info", `watching ${this.#path}: leases of it follow its changes`);
    void this.#build();
  }

  /** Folders rather than files: editors put new files in the place of old ones. */
  #watch(): void {
    const wanted = new Set(this.#inputs.map((input) => dirname(input)));
    for (const [folder, watcher] of this.#folders)
      if (!wanted.has(folder)) {
        watcher.close();
        this.#folders.delete(folder);
      }
    for (const folder of wanted)
      if (!this.#folders.has(folder)) {
        try {
          this.#folders.set(
            folder,
            watch(folder, { persistent: false }, () => this.#stirred()),
          );
        } catch (error) {
          const { message } = error as Error;
          this.#events.log("warn", `${folder} cannot be watched (${message})`);
        }
      }
  }

  #stirred(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      if (!this.#building && this.#stampNow() !== this.#stamp) void this.#build();
    }, SETTLE_MS);
  }

  async #build(): Promise<void> {
    this.#building = true;
    const startedNs = Bun.nanoseconds();
    const startedMs = Date.now();
    const before = this.#stampNow();
    let built: Built | undefined;
    try {
      built = await buildPackage(this.#path, this.#options);
      for (const warning of built.warnings) this.#events.log("warn", warning);
      await store(this.#packages, built.package);
    } catch (error) {
      this.#events.log("warn", `${this.#path} stays as it was: ${(error as Error).message}`);
    }
    this.#building = false;
    this.#inputs = built?.inputs ?? this.#inputs;
    this.#watch();
    // The build may not have read a change that came while it ran.
    const stale = built && this.#inputs.some((input) => changedAfter(input, startedMs));
    this.#stamp = stale ? "" : built ? this.#stampNow() : before;
    if (stale) this.#stirred();
    if (!built || built.package.hash === this.#hash) return;
    const first = this.#hash === undefined;
    this.#hash = built.package.hash;
    const leases = await this.#events.built(this.#hash);
    const ms = ((Bun.nanoseconds() - startedNs) / 1e6).toFixed(1);
    if (!first || leases > 0)
      this.#events.log(
        "info",
        `${this.#path} built again in ${ms} ms, for ${countOf(leases, "lease")}`,
      );
  }

  #stampNow(): string {
    return this.#inputs.map(stampOf).join("\n");
  }
}

/** Into the cache, as if a client had sent it. */
async function store(packages: PackageStore, made: Package): Promise<void> {
  if (await packages.has(made.hash)) return;
  // Copies, since the thread takes the memory that it gets.
  const upload = await packages.receive(made.hash, made.manifestBytes.slice(), OWN_USER);
  try {
    for (const index of upload.missing)
      for await (const piece of piecesOf(made.contents.get(made.manifest.files[index]!.path)!))
        await upload.write(new Uint8Array(piece));
    await upload.finish();
  } catch (error) {
    await upload.abandon();
    throw error;
  }
}
