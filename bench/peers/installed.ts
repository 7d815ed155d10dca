/** What the peers need: the packages of the lockfile beside this file, and NATS's server; both are kept for later runs. */
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { outputOf } from "./child.ts";

const FOLDER = join(import.meta.dir, "..", "..", "node_modules", ".cache", "peers");

export interface Installed {
  /** A folder that is writable, and kept. */
  folder: string;
  /** The folder of packages. */
  packages: string;
  /** Undefined where there is none. */
  natsServer: string | undefined;
}

/** Rejects where npm's registry does not answer. `say` tells what is missing. */
export async function installPeers(say: (line: string) => void): Promise<Installed> {
  mkdirSync(FOLDER, { recursive: true });
  await installPackages();
  const natsServer = await findNatsServer().catch((error: Error) => {
    say(
      `${error.message}\nNATS is left out: install nats-server (Debian has a package of that name)`,
    );
    return undefined;
  });
  return { folder: FOLDER, packages: join(FOLDER, "node_modules"), natsServer };
}

async function installPackages(): Promise<void> {
  const lockfile = Bun.file(join(import.meta.dir, "package-lock.json"));
  const mark = Bun.file(join(FOLDER, "installed"));
  const wanted = Bun.hash(await lockfile.bytes()).toString();
  if ((await mark.exists()) && (await mark.text()) === wanted) return;
  for (const name of ["package.json", "package-lock.json"])
    await cp(join(import.meta.dir, name), join(FOLDER, name));
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"];
  await outputOf(["npm", "ci", "--prefix", FOLDER, ...quiet]);
  await mark.write(wanted);
}

/** That of the system, else one from Debian's package, which is taken out of it and not installed. */
async function findNatsServer(): Promise<string> {
  const onPath = Bun.which("nats-server") ?? Bun.which("nats-server", { PATH: "/usr/sbin" });
  if (onPath !== null) return onPath;
  const unpacked = join(FOLDER, "nats");
  const program = join(unpacked, "usr", "sbin", "nats-server");
  if (existsSync(program)) return program;
  const inFolder = (...command: string[]) => outputOf(["env", "-C", FOLDER, ...command]);
  await inFolder("apt-get", "download", "nats-server").catch(async () => {
    await inFolder("apt-get", "update");
    await inFolder("apt-get", "download", "nats-server");
  });
  const archive = readdirSync(FOLDER).find((name) => /^nats-server_.*\.deb$/.test(name));
  if (archive === undefined) throw new Error("apt-get has fetched no nats-server");
  await inFolder("dpkg-deb", "-x", archive, unpacked);
  rmSync(join(FOLDER, archive));
  return program;
}
