/** The folder of the package. Set by scripts/test.mjs. */
declare const ROOT: string;
