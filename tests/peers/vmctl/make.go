// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
)

func makeTags(ctx context.Context, client *vim25.Client, user *url.Userinfo, names []string) error {
	c := rest.NewClient(client)
	if err := c.Login(ctx, user); err != nil {
		return err
	}
	defer func() { _ = c.Logout(context.WithoutCancel(ctx)) }()
	manager := tags.NewManager(c)
	categories := map[string]string{}
	for _, name := range names {
		category, tag, ok := strings.Cut(name, "/")
		if !ok {
			return fmt.Errorf("%q is not CATEGORY/NAME", name)
		}
		id, known := categories[category]
		if !known {
			var err error
			id, err = manager.CreateCategory(ctx, &tags.Category{Name: category, Cardinality: "MULTIPLE"})
			if err != nil {
				return err
			}
			categories[category] = id
		}
		if _, err := manager.CreateTag(ctx, &tags.Tag{Name: tag, CategoryID: id}); err != nil {
			return err
		}
	}
	return nil
}

func attachTag(ctx context.Context, client *vim25.Client, user *url.Userinfo, name, where string) error {
	c := rest.NewClient(client)
	if err := c.Login(ctx, user); err != nil {
		return err
	}
	defer func() { _ = c.Logout(context.WithoutCancel(ctx)) }()
	manager := tags.NewManager(c)
	category, tagName, _ := strings.Cut(name, "/")
	tag, err := manager.GetTagForCategory(ctx, tagName, category)
	if err != nil {
		return err
	}
	ref, err := object.NewSearchIndex(client).FindByInventoryPath(ctx, where)
	if err != nil {
		return err
	}
	if ref == nil {
		return fmt.Errorf("there is no %s", where)
	}
	return manager.AttachTag(ctx, tag.ID, ref)
}

func renewTag(ctx context.Context, client *vim25.Client, user *url.Userinfo, name string) error {
	c := rest.NewClient(client)
	if err := c.Login(ctx, user); err != nil {
		return err
	}
	defer func() { _ = c.Logout(context.WithoutCancel(ctx)) }()
	manager := tags.NewManager(c)
	category, tagName, _ := strings.Cut(name, "/")
	tag, err := manager.GetTagForCategory(ctx, tagName, category)
	if err != nil {
		return err
	}
	if err = manager.DeleteTag(ctx, tag); err != nil {
		return err
	}
	_, err = manager.CreateTag(ctx, &tags.Tag{Name: tagName, CategoryID: tag.CategoryID})
	return err
}

func renewAttribute(ctx context.Context, client *vim25.Client, name string) error {
	manager, err := object.GetCustomFieldsManager(client)
	if err != nil {
		return err
	}
	key, err := manager.FindKey(ctx, name)
	if err != nil {
		return err
	}
	if err = manager.Remove(ctx, key); err != nil {
		return err
	}
	_, err = manager.Add(ctx, name, "VirtualMachine", nil, nil)
	return err
}

func makeFolder(ctx context.Context, client *vim25.Client, wanted string) error {
	finder := find.NewFinder(client)
	if _, err := finder.Folder(ctx, wanted); err == nil {
		return nil
	}
	if path.Dir(wanted) == "/" {
		return fmt.Errorf("%s is no place for a folder", wanted)
	}
	if err := makeFolder(ctx, client, path.Dir(wanted)); err != nil {
		return err
	}
	parent, err := finder.Folder(ctx, path.Dir(wanted))
	if err != nil {
		return err
	}
	_, err = parent.CreateFolder(ctx, path.Base(wanted))
	return err
}
