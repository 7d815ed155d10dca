/** A stranger with a clean Debian: no Bun, no Node, no compiler, and after the installation no network. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { deb } from "../../build/pack/system/deb.ts";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { VERSION, made, output } from "./artefacts.ts";
import { CleanDebian, prepareDebian } from "./clean-debian.ts";

const LIMIT_MS = 120_000;
const reason = await prepareDebian();
if (reason) console.error(`SKIPPED: the .deb in a clean Debian: ${reason}`);

/** Lists all files but the test's and a user's own. */
const FILES = "find / -xdev -not -path '/home/*' -not -path '/tmp/*' | sort";

/** A command of a user in their home, where the README's files are. */
const asUser = (command: string): string => `su --login ada --command "${command}"`;

/** The block of the README that is written to a file of this name. */
function readmeFile(name: string): string {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  return new RegExp(`^\`\`\`ts file=${name}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(readme)![1]!;
}

describe.skipIf(reason !== null)("the .deb in a clean Debian", () => {
  let debian: CleanDebian;
  const scratch = new Scratch();

  beforeAll(async () => {
    debian = new CleanDebian();
    const [path] = await made(deb, scratch, "deb");
    const write = (name: string, text: string): void => {
      mkdirSync(dirname(join(debian.changes, name)), { recursive: true });
      writeFileSync(join(debian.changes, name), text);
    };
    write("home/fn.ts", readmeFile("fn.ts"));
    write("home/client.ts", readmeFile("client.ts"));
    copyFileSync(path!, join(debian.changes, "home", basename(path!)));
    await debian.output("useradd --create-home ada; cp /home/*.ts /home/ada");
    await debian.output(`${FILES} > /home/before; dpkg -i /home/rfaas_*.deb`);
  }, 300_000);
  afterAll(() => {
    debian?.[Symbol.dispose]();
    scratch[Symbol.dispose]();
  });

  test(
    "needs nothing that is not there, and says its version",
    async () => {
      expect(await debian.output("dpkg -s rfaas")).toContain("Status: install ok installed");
      expect(await debian.output("command -v bun node cc || true")).toBe("");
      expect(await debian.output("rfaas --version")).toContain(VERSION);
    },
    LIMIT_MS,
  );

  test(
    "invokes the README's function, for a user who is not root",
    async () => {
      expect(await debian.output(asUser("rfaas invoke fn.ts#double --json 21"))).toBe("42\n");
    },
    LIMIT_MS,
  );

  test(
    "has a doctor, which finds that calls work here",
    async () => {
      const said = await debian.output("rfaas doctor");
      expect(said).toMatch(/^ok +shim +\/proc/m);
      expect(said).toMatch(/^ok +fabric shm /m);
      // Built with RDMA, which only lacks its libraries here.
      expect(said).toMatch(/^off +fabric verbs +libibverbs.so.1 cannot be opened$/m);
    },
    LIMIT_MS,
  );

  test(
    "runs the README's client, with the library of the executable",
    async () => {
      expect(await debian.output(asUser("rfaas run client.ts"))).toBe("500\n42\n");
    },
    LIMIT_MS,
  );

  test(
    "has the manual of every command",
    async () => {
      const names = await debian.output("cd /usr/share/man/man1 && ls rfaas*");
      expect(names).toContain("rfaas.1.gz\n");
      expect(names).toContain("rfaas-serve.1.gz\n");
      const page = join(debian.changes, "usr/share/man/man1/rfaas-invoke.1.gz");
      expect(await debian.output("zcat /usr/share/man/man1/rfaas-invoke.1.gz")).toBe(
        await debian.output("rfaas help --man invoke"),
      );
      expect(output(["man", "--warnings", "--local-file", page])).toContain("rfaas invoke");
    },
    LIMIT_MS,
  );

  test(
    "completes words in bash",
    async () => {
      const words = `source /usr/share/bash-completion/completions/rfaas
        COMP_WORDS=(rfaas inv) COMP_CWORD=1 COMP_LINE="rfaas inv" COMP_POINT=9
        "$(complete -p rfaas | sed 's/.*-F \\([^ ]*\\).*/\\1/')" rfaas inv rfaas
        echo "\${COMPREPLY[*]}"`;
      writeFileSync(join(debian.changes, "home/words.sh"), words);
      expect((await debian.output("bash -eu /home/words.sh")).trim()).toBe("invoke");
    },
    LIMIT_MS,
  );

  test(
    "is removed without a trace",
    async () => {
      await debian.output("dpkg -r rfaas");
      expect(await debian.output(`${FILES} | comm -3 /home/before -`)).toBe("");
    },
    LIMIT_MS,
  );
});
