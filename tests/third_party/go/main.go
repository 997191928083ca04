// Checks a C2SP tlog-tiles log over HTTP with software that the log's authors did not write: twice, with the
// checksum database's golang.org/x/mod/sumdb/{note,tlog} and with transparency-dev's {tessera,formats,merkle}.
//
//	thirdparty -url http://…/tlog/<log id> -vkey <vkey> [-pqvkey <vkey>] -old <size> -oldroot <base64>
//	           -records <index>=<record hash in hex>,…
//
// It prints what held, one line each, and ends with exit code 1 at the first thing that does not.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	formatslog "github.com/transparency-dev/formats/log"
	formatsnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// claim is what the log's operator says; everything in it is to be proven from what the log serves.
type claim struct {
	url      *url.URL
	verifier note.Verifier
	quantum  note.Verifier // Of an ML-DSA-44 cosignature; nil where none is expected.
	oldSize  int64
	oldRoot  tlog.Hash
	records  map[int64][]byte
}

func main() {
	c, err := parse()
	if err == nil {
		err = withXMod(c)
	}
	if err == nil {
		err = withTessera(c)
	}
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

func parse() (*claim, error) {
	base := flag.String("url", "", "prefix of the log")
	vkey := flag.String("vkey", "", "Ed25519 verifier key of the log")
	pqvkey := flag.String("pqvkey", "", "ML-DSA-44 verifier key of the log")
	oldSize := flag.Int64("old", 0, "an earlier size")
	oldRoot := flag.String("oldroot", "", "the root at that size")
	records := flag.String("records", "", "index=hex,…")
	flag.Parse()
	c := &claim{oldSize: *oldSize, records: map[int64][]byte{}}
	var err error
	if c.url, err = url.Parse(strings.TrimSuffix(*base, "/") + "/"); err != nil {
		return nil, err
	}
	if c.verifier, err = note.NewVerifier(*vkey); err != nil {
		return nil, err
	}
	if *pqvkey != "" {
		if c.quantum, err = formatsnote.NewMLDSAVerifier(*pqvkey); err != nil {
			return nil, err
		}
	}
	if c.oldRoot, err = tlog.ParseHash(*oldRoot); err != nil {
		return nil, err
	}
	for _, pair := range strings.Split(*records, ",") {
		index, hash, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseInt(index, 10, 64)
		if err != nil {
			return nil, err
		}
		if c.records[n], err = hex.DecodeString(hash); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// tiles reads tlog-tiles where x/mod asks for the layout of the checksum database: tile/8/L/N is tile/L/N here.
type tiles struct{ base *url.URL }

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, err := get(t.base, "tile/"+strings.TrimPrefix(tile.Path(), "tile/8/"))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func get(base *url.URL, path string) ([]byte, error) {
	answer, err := http.Get(base.JoinPath(path).String())
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

func withXMod(c *claim) error {
	raw, err := get(c.url, "checkpoint")
	if err != nil {
		return err
	}
	opened, err := note.Open(raw, note.VerifierList(c.verifier))
	if err != nil {
		return fmt.Errorf("x/mod: checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != c.verifier.Name() {
		return errors.New("x/mod: not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	fmt.Printf("x/mod: checkpoint of size %d signed by %s\n", size, c.verifier.Name())
	// The hash reader checks every tile it reads against the signed root.
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles{c.url})
	for index, hash := range c.records {
		path, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			return fmt.Errorf("x/mod: record %d: %w", index, err)
		}
		if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(hash)); err != nil {
			return fmt.Errorf("x/mod: record %d: %w", index, err)
		}
		fmt.Printf("x/mod: record %d included\n", index)
	}
	path, err := tlog.ProveTree(size, c.oldSize, reader)
	if err != nil {
		return fmt.Errorf("x/mod: consistency: %w", err)
	}
	if err := tlog.CheckTree(path, size, root, c.oldSize, c.oldRoot); err != nil {
		return fmt.Errorf("x/mod: consistency: %w", err)
	}
	fmt.Printf("x/mod: size %d contains size %d unchanged\n", size, c.oldSize)
	return nil
}

// entries recomputes the root from all entry bundles and finds the records among the entries.
func entries(ctx context.Context, c *claim, fetcher *client.HTTPFetcher, head *formatslog.Checkpoint) error {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := factory.NewEmptyRange(0)
	for n := uint64(0); n*256 < head.Size; n++ {
		bundle, err := client.GetEntryBundle(ctx, fetcher.ReadEntryBundle, n, head.Size)
		if err != nil {
			return fmt.Errorf("tessera: entry bundle %d: %w", n, err)
		}
		for place, entry := range bundle.Entries {
			if hash, ok := c.records[int64(n)*256+int64(place)]; ok && !bytes.Equal(entry, hash) {
				return fmt.Errorf("tessera: entry %d is not the record hash", n*256+uint64(place))
			}
			if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(entry), nil); err != nil {
				return err
			}
		}
	}
	root, err := tree.GetRootHash(nil)
	if err != nil || tree.End() != head.Size || !bytes.Equal(root, head.Hash) {
		return errors.New("tessera: the entries do not give the signed root")
	}
	fmt.Printf("tessera: %d entries give the signed root\n", head.Size)
	return nil
}

func withTessera(c *claim) error {
	ctx := context.Background()
	fetcher, err := client.NewHTTPFetcher(c.url, nil)
	if err != nil {
		return err
	}
	head, raw, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, c.verifier, c.verifier.Name())
	if err != nil {
		return fmt.Errorf("tessera: checkpoint: %w", err)
	}
	fmt.Printf("tessera: checkpoint of size %d\n", head.Size)
	if c.quantum != nil {
		if _, _, _, err := formatslog.ParseCheckpoint(raw, c.quantum.Name(), c.quantum); err != nil {
			return fmt.Errorf("formats: ML-DSA-44: %w", err)
		}
		fmt.Println("formats: ML-DSA-44 cosignature verified")
	}
	builder, err := client.NewProofBuilder(ctx, head.Size, fetcher.ReadTile)
	if err != nil {
		return err
	}
	for index, hash := range c.records {
		path, err := builder.InclusionProof(ctx, uint64(index))
		if err != nil {
			return fmt.Errorf("tessera: record %d: %w", index, err)
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(hash)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), head.Size, leaf, path, head.Hash); err != nil {
			return fmt.Errorf("tessera: record %d: %w", index, err)
		}
		fmt.Printf("tessera: record %d included\n", index)
	}
	if err := entries(ctx, c, fetcher, head); err != nil {
		return err
	}
	path, err := builder.ConsistencyProof(ctx, uint64(c.oldSize), head.Size)
	if err != nil {
		return fmt.Errorf("tessera: consistency: %w", err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(c.oldSize), head.Size, path, c.oldRoot[:], head.Hash); err != nil {
		return fmt.Errorf("tessera: consistency: %w", err)
	}
	fmt.Printf("tessera: size %d contains %d (%s)\n", head.Size, c.oldSize, base64.StdEncoding.EncodeToString(c.oldRoot[:]))
	return nil
}
