/**
 * A clean Debian to install to: a root that debootstrap makes once and keeps for later runs. What a test changes goes to a layer of its
 * own, and each command runs in namespaces of its own, so that nothing stays mounted or running, whatever happens.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Scratch } from "../support/scratch.ts";

const SUITE = "bookworm";
/** Not XDG_CACHE_HOME, which is a test run's own. */
export const KEPT_DEBIAN = join(homedir(), ".cache", "rfaas-test", `debian-${SUITE}`);
const MAKE_LIMIT_MS = 600_000;

/** Why there is no clean Debian here, or null when there is one. */
export async function prepareDebian(): Promise<string | null> {
  if (existsSync(KEPT_DEBIAN)) return null;
  if (process.getuid?.() !== 0) return "only root can make one and change its root to it";
  const debootstrap = Bun.which("debootstrap", {
    PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`,
  });
  if (!debootstrap) return "no debootstrap; run: apt-get install debootstrap";
  mkdirSync(join(KEPT_DEBIAN, ".."), { recursive: true });
  const fresh = mkdtempSync(`${KEPT_DEBIAN}-`);
  // What it mounts is seen by nothing else, and gone with it.
  const command = ["unshare", "--mount", debootstrap, "--variant=minbase", SUITE, fresh];
  const making = Bun.spawn(command, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    timeout: MAKE_LIMIT_MS,
  });
  const said = await making.stdout.text();
  try {
    if ((await making.exited) !== 0)
      return `debootstrap failed; Debian's archive may not be reachable:\n${said.slice(-2000)}`;
    renameSync(fresh, KEPT_DEBIAN);
    return null;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Run as the first process of its namespaces, with the paths of the layer and a command for the root. */
const ENTER = `
set -e
mount -t overlay overlay -o lowerdir="$1",upperdir="$2",workdir="$3" "$4"
mount -t proc proc "$4/proc"
mount --rbind /dev "$4/dev"
mount --rbind -o ro /sys "$4/sys"
exec chroot "$4" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \\
  DEBIAN_FRONTEND=noninteractive sh -euc "$5"
`;

export interface Ran {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export class CleanDebian implements Disposable {
  readonly #scratch = new Scratch();
  /** What lies over the clean root: files that are written here, before a command runs, are in the root. */
  readonly changes = this.#scratch.join("changes");

  constructor() {
    for (const name of ["changes", "work", "root"]) mkdirSync(this.#scratch.join(name));
  }

  /** Runs a script of sh to its end, without a network unless it is asked for. */
  async run(script: string, { network = false, limitMs = 120_000 } = {}): Promise<Ran> {
    const apart = ["--mount", "--pid", "--fork", "--kill-child", ...(network ? [] : ["--net"])];
    const layer = [
      KEPT_DEBIAN,
      this.changes,
      this.#scratch.join("work"),
      this.#scratch.join("root"),
    ];
    const child = Bun.spawn(["unshare", ...apart, "sh", "-c", ENTER, "sh", ...layer, script], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: limitMs,
      killSignal: "SIGKILL",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    await child.exited;
    return { exitCode: child.exitCode, stdout, stderr };
  }

  /** What the script writes to stdout. Throws with what it said when it fails. */
  async output(script: string, options?: { network?: boolean; limitMs?: number }): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(script, options);
    if (exitCode !== 0) throw new Error(`${script}\nended with ${exitCode}:\n${stdout}${stderr}`);
    return stdout;
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}
