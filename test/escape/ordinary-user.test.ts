/** The attempts once more, with node, decoy and attackers of an ordinary user: what root has by its rights, he has not. */
import { expect, test } from "bun:test";
import { accessSync, chownSync, constants, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const NOBODY = 65_534;
const LIMIT_MS = 600_000;
const SUITE = join(import.meta.dir, "escape.test.ts");
/** Each is a table of attempts from the room, and one of controls. */
const LEAST_PASSED = 18;

const as = ["--reuid", String(NOBODY), "--regid", String(NOBODY), "--clear-groups"];
const whyNot = notAsOther();

/** Why these tests cannot be run as another user, if so. */
function notAsOther(): string | undefined {
  if (process.getuid!() !== 0) return "it is one who runs this";
  if (!Bun.which("setpriv")) return "setpriv is missing; apt-get install util-linux";
  if (!sandboxIsThere) return `this rfaas has no sandbox ${SANDBOX}`;
  for (const path of [SUITE, RFAAS, process.execPath]) {
    try {
      accessSync(path, constants.R_OK);
    } catch {
      return `${path} is missing; npm run build`;
    }
    const reads = Bun.spawnSync(["setpriv", ...as, "test", "-r", path], { cwd: "/" });
    if (!reads.success) return `${dirname(path)} is closed to others`;
  }
  return undefined;
}
if (whyNot !== undefined) console.error(`SKIPPED: attempts of an ordinary user: ${whyNot}`);

test.skipIf(whyNot !== undefined)(
  "all attempts are held for an ordinary user, too",
  async () => {
    using scratch = new Scratch();
    const own = scratch.join("own");
    mkdirSync(own);
    for (const path of [scratch.path, own]) chownSync(path, NOBODY, NOBODY);
    const places = { HOME: own, TMPDIR: own, XDG_CACHE_HOME: own, XDG_STATE_HOME: own };
    const child = Bun.spawn(
      ["setpriv", ...as, process.execPath, "test", "--timeout", String(LIMIT_MS), SUITE],
      {
        cwd: "/",
        env: { ...process.env, ...places, XDG_CONFIG_HOME: own },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    const [said, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
    expect([exitCode, said.match(/^(?:\(fail\) .*|[+-] .*|error: .*)$/gm) ?? []]).toEqual([0, []]);
    expect(Number(/^ (\d+) pass$/m.exec(said)?.[1])).toBeGreaterThanOrEqual(LEAST_PASSED);
  },
  LIMIT_MS,
);
