#!/usr/bin/env bun
/** The executable: finds the command, loads it, runs it, and turns whatever goes wrong into one line and an exit code. */
import { runCommandLine } from "./commands/tree.ts";

void runCommandLine(process.argv.slice(2));
