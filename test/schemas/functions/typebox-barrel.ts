/** What a project has one place for. */
export * from "@sinclair/typebox";
export * as values from "@sinclair/typebox/value";
