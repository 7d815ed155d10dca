/**
 * Makes a fresh clone ready with nothing but Node, npm and a C compiler: installs what package-lock.json pins (Bun among it)
 * and compiles the native shim. Does nothing that is already done.
 *
 *     node setup.mjs [--quiet]
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const root = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const quiet = process.argv.includes("--quiet");

function say(text) {
  if (!quiet) console.error(text);
}

function fail(text) {
  console.error(`setup: ${text}`);
  process.exit(1);
}

function onPath(name) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, name)));
}

function run(command, args) {
  const done = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", quiet ? "pipe" : 2, quiet ? "pipe" : 2],
  });
  if (done.error) fail(`cannot run ${command}: ${done.error.message}`);
  if (done.status !== 0) {
    if (quiet) process.stderr.write(Buffer.concat([done.stdout, done.stderr]));
    fail(`${command} ${args.join(" ")} failed`);
  }
}

/** What is installed agrees with the lock file: npm keeps its own copy of what it installed. */
function installed() {
  const kept = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(kept)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const have = JSON.parse(readFileSync(kept, "utf8")).packages;
  return Object.entries(wanted).every(
    ([path, entry]) => path === "" || entry.optional || have[path]?.version === entry.version,
  );
}

if (process.platform !== "linux") fail("rfaas runs on Linux only, so far");
if (!["cc", "gcc", "clang"].some(onPath) && !process.env.CC)
  fail("no C compiler found; install one, for example: apt-get install gcc libc6-dev");

if (!installed()) {
  say("installing what package-lock.json pins");
  run("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
}
const bun = join(root, "node_modules", ".bin", "bun");
// The one install script that is needed: it puts Bun's executable, which npm has fetched as a package, in its place.
if (spawnSync(bun, ["--version"]).status !== 0)
  run(process.execPath, [join(root, "node_modules", "bun", "install.js")]);
if (!existsSync(bun)) fail("npm did not install Bun; remove node_modules and run this again");
run(bun, [join(root, "ffi", "build.ts"), ...(quiet ? ["--quiet"] : [])]);
say("ready: npm run demo, npm test, npm run build");
