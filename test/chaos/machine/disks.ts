/**
 * Small disks of a run's own: an image with a file system on a loop device, which can be full, and frozen, as a disk is that does not answer
 * for a while. Where there are no loop devices, memory, which can only be full.
 */
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";

const IMAGE_BYTES = 24 * 1024 * 1024;
const BLOCK = new Uint8Array(64 * 1024);

const run = (...command: string[]): boolean => Bun.spawnSync(command, { stderr: "ignore" }).success;

export class Disk implements Disposable {
  readonly path: string;
  /** Whether it can be frozen. */
  readonly freezes: boolean;

  /** At `path`, which is made; its image lies beside it. */
  constructor(path: string) {
    this.path = path;
    mkdirSync(path);
    const image = `${path}.img`;
    closeSync(openSync(image, "w"));
    truncateSync(image, IMAGE_BYTES);
    this.freezes =
      Bun.which("fsfreeze") !== null &&
      run("mkfs.ext4", "-q", "-m", "0", image) &&
      run("mount", "-o", "loop", image, path);
    const options = ["-t", "tmpfs", "-o", `size=${IMAGE_BYTES}`];
    if (!this.freezes && !run("mount", ...options, "rfaas-chaos", path))
      throw new Error(`no disk can be mounted at ${path}`);
  }

  get #ballast(): string {
    return join(this.path, "ballast");
  }

  /** Not a byte more fits. */
  fill(): void {
    const file = openSync(this.#ballast, "w");
    try {
      for (let size = BLOCK.length; size > 0;)
        try {
          writeSync(file, BLOCK, 0, size);
        } catch {
          size >>= 1;
        }
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.#ballast, { force: true });
  }

  /** Who writes waits until it thaws. */
  freeze(): void {
    if (!run("fsfreeze", "-f", this.path)) throw new Error(`${this.path} does not freeze`);
  }

  thaw(): void {
    if (!run("fsfreeze", "-u", this.path)) throw new Error(`${this.path} does not thaw`);
  }

  [Symbol.dispose](): void {
    run("fsfreeze", "-u", this.path);
    if (!run("umount", this.path)) run("umount", "-l", this.path);
  }
}
