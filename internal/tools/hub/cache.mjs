// Fills or reads a cache with the official JavaScript client: cache.mjs URL CACHE snapshot|scan. Prints JSON: the folder
// of the snapshot, or what scanCacheDir finds. Run by a test of package hub.
import { downloadFileToCacheDir, scanCacheDir, snapshotDownload } from "@huggingface/hub";

const [url, cacheDir, what] = process.argv.slice(-3);
const repo = { type: "model", name: "alice/m" };
const common = { repo, hubUrl: url, accessToken: "hf_test", cacheDir };

if (what === "snapshot") {
	const file = await downloadFileToCacheDir({ ...common, path: "config.json" });
	const folder = await snapshotDownload(common);
	console.log(JSON.stringify({ file, folder }));
} else {
	const info = await scanCacheDir(cacheDir);
	console.log(
		JSON.stringify({
			warnings: info.warnings.map(String),
			repos: info.repos.map((r) => ({
				id: r.id,
				size: r.size,
				revisions: r.revisions.map((v) => ({
					commit: v.commitOid,
					refs: v.refs,
					files: v.files.map((f) => ({ path: f.path, blob: f.blob.path, size: f.blob.size })),
				})),
			})),
		}),
	);
}
